"""What a good set of backbones measures: the gates of `polydiff evaluate protein`.

Bounds of geometry are set around 1,591 real domains of 40 to 128 residues (whole chains and SCOPe domains of
the PDB), whose figures the help gives where the reference set does not.
"""

from __future__ import annotations

from polydiff.domain import Gate


def _near(value: float, by: float, words: str) -> Gate:
    return Gate(round(value - by, 3), round(value + by, 3), words)


GATES: dict[str, Gate] = {
    "n_ca": _near(1.460, 0.02, "N-CA bond, Å"),
    "ca_c": _near(1.524, 0.02, "CA-C bond, Å"),
    "c_n": _near(1.330, 0.02, "C-N bond to the next residue, Å"),
    "c_o": _near(1.233, 0.02, "C=O bond, Å"),
    "angle_n_ca_c": _near(110.9, 2, "N-CA-C angle, degrees"),
    "angle_ca_c_n": _near(116.6, 2, "CA-C-N angle, degrees"),
    "angle_c_n_ca": _near(121.6, 2, "C-N-CA angle, degrees"),
    "ca_step": _near(3.805, 0.03, "from one CA to the next across a trans bond, Å"),
    "ca_step_share": Gate(low=0.98, help="steps from CA to CA of 3.6 to 4.0 Å"),
    "omega_trans": Gate(low=0.98, help="peptide bonds that are trans"),
    "phi_psi_allowed": Gate(low=0.90, help="residues whose phi and psi lie where 96 % of real ones do"),
    "phi_positive": Gate(high=0.10, help="residues with phi above 0"),
    "helix_turn": Gate(help="dihedral of four CA in a helix, degrees; +50 in proteins"),
    "right_handed": Gate(low=0.97, help="turns of helices that are right-handed"),
    "gyration": Gate(help="radius of gyration over 2.2 N^0.38 Å"),
    "gyration_share": Gate(low=0.90, help="chains whose radius of gyration is .93 to 1.2 times 2.2 N^0.38 Å"),
    "contacts": Gate(3.5, 5, "CA within 8 Å of a CA, four or more apart along the chain"),
    "clashes": Gate(high=0.5, help="pairs of CA under 3.6 Å, per 100 residues"),
    "clash_free": Gate(low=0.95, help="backbones without such a pair"),
    "breaks": Gate(high=0, help="missing bonds along the chains, per backbone"),
    "helix": Gate(low=0.05, help="residues in helices"),
    "strand": Gate(low=0.05, help="residues in strands"),
    "loop": Gate(high=0.55, help="other residues"),
    "pair_tm": Gate(high=0.45, help="TM-score of two of the set, at random"),
    "clusters_50": Gate(low=0.5, help="clusters at TM-score 0.5, per backbone"),
    "clusters_60": Gate(help="clusters at TM-score 0.6, per backbone"),
    "nearest_tm": Gate(help="best TM-score to the training set, mean"),
    "copies": Gate(high=0.02, help="backbones with a TM-score above 0.9 to the training set"),
    "mpnn_score": Gate(high=1.2, help="ProteinMPNN, -log p of its sequence per residue, nats"),
    "mpnn_entropy": Gate(low=2.3, help="entropy of the residues that it uses, nats"),
    "motif_within": Gate(low=0.9, help="scaffolds whose motif is within 0.5 Å of the source"),
    "motif_rmsd": Gate(help="N, CA and C of the motif after superposition, Å, mean"),
    "symmetry_error": Gate(high=0.01, help="an assembly from itself turned by its own symmetry, Å, at most"),
}
