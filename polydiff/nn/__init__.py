"""Blocks that plugins build denoisers from."""

from polydiff.nn.embeddings import ConditionEmbedding, NoiseEmbedding, sinusoids
from polydiff.nn.transformer import SequenceTransformer

__all__ = ["ConditionEmbedding", "NoiseEmbedding", "SequenceTransformer", "sinusoids"]
