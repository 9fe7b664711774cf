# SPDX-License-Identifier: Apache-2.0
"""Trees that are checked in pieces: the same verdict and the same upper value, however they are cut
and whoever walks the pieces; what does not come back is missed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isoform as iso
import networks
from isoform.certificate.certificate import Certificate, save
from isoform.certificate.check import check
from isoform.certificate.tree_check import rows_of
from isoform.certificate.tree_evidence import Split, Trees
from isoform.certificate.tree_pieces import Spread, cuts, shape_of, subtree
from isoform.certificate.verdict import Proved
from isoform.errors import CertificateRejected
from isoform.network.claim import Claim, Within
from isoform.network.domain import Box
from isoform.verify.checking import Checking
from isoform.verify.clock import OutOfTime
from isoform.verify.prove import prove
from tree_claims import data_of, mutated, proof_of, true_claims, with_data


def halves(widths: tuple[int, ...], eps: float) -> Certificate:
    """A proof that a network and its copy in half precision are close."""
    chain = networks.random_chain(widths, 1)
    copy = tuple(
        networks.replace(layer, weight=layer.weight.astype(np.float16).astype(np.float32))
        for layer in chain
    )
    claim = Claim(Within(Fraction(eps)), Box([-1] * widths[0], [1] * widths[0]))
    verdict = prove(networks.network(chain), networks.network(copy), claim, timeout=60)
    assert isinstance(verdict, Proved)
    return verdict.certificate


@pytest.fixture(scope="module")
def proofs() -> list[Certificate]:
    """Some that split inputs, and one that cuts units and has hints."""
    made = [halves((3, 12, 12, 2), 0.0008), halves((16, 10, 6, 3), 0.0045)]
    sizes = [sum(len(tree.tokens) for tree in data_of(proof).trees) for proof in made]
    assert min(sizes) > 60 and any(tree.hints for tree in data_of(made[1]).trees)
    return [*made, *(proof_of(1, *parts) for _, *parts in true_claims())]


def result(proof: Certificate, spread: Spread | None = None) -> Fraction | str | None:
    """The upper value; in words where it is rejected."""
    try:
        return check(proof, spread=spread or Spread()).upper
    except CertificateRejected:
        return "rejected"


def test_pieces_change_nothing(proofs: list[Certificate]) -> None:
    for proof in proofs:
        whole = result(proof)
        assert whole != "rejected"
        assert all(result(proof, Spread(pieces)) == whole for pieces in (2, 3, 10, 10**6))


def test_trees_are_really_cut(proofs: list[Certificate]) -> None:
    for proof in proofs[:2]:
        trees = len(data_of(proof).trees)
        assert len(pieces_of(proof, 10)) > trees + 4
        assert len(pieces_of(proof, 1)) == trees


def pieces_of(proof: Certificate, count: int) -> list[Any]:
    """What is handed to whoever walks the pieces."""
    handed: list[Any] = []

    def across(function: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        for piece in pieces:
            handed.append(piece)
            yield function(piece)

    check(proof, spread=Spread(count, across))
    return handed


def test_subtrees_have_their_own_tokens_places_and_hints(proofs: list[Certificate]) -> None:
    trees = [(proof, tree) for proof in proofs[:2] for tree in data_of(proof).trees]
    for held, tree in trees:
        bounds = rows_of(pieces_of(held, 1)[0].part, data_of(held).bits).bounds
        second, place = shape_of(tree, 100, 100)
        for first, end in cuts(second, max(1, len(tree.tokens) // 6)).items():
            part = subtree(tree, first, end)
            _, own = shape_of(part, 100, 100)
            assert np.array_equal(part.tokens, tree.tokens[first:end])
            assert np.array_equal(own, place[first:end])
            if tree.hints is None or part.hints is None:
                assert part.hints is tree.hints
                continue
            part.hints.check(part.tokens, Split.LEAF, 10**6, bounds)
            for i, at in enumerate(part.hints.leaves.tolist()):
                j = tree.hints.leaves.tolist().index(first + at)
                assert np.array_equal(multiples(part.hints, i), multiples(tree.hints, j))
                assert np.array_equal(part.hints.low[i], tree.hints.low[j])


def multiples(hints: Any, i: int) -> np.ndarray:
    given = slice(int(hints.ends[i - 1]) if i else 0, int(hints.ends[i]))
    return np.stack([hints.places[given], hints.added[given]])


def test_an_open_leaf_is_found_in_any_piece(proofs: list[Certificate]) -> None:
    """Cut off one split at a time, all over the tree: what was needed is missed."""
    for proof in proofs[:2]:
        data = data_of(proof)
        tree = max(data.trees, key=lambda each: len(each.tokens))
        number = [each is tree for each in data.trees].index(True)
        last = [  # splits of two leaves
            at for at in np.flatnonzero(tree.tokens[:-2] != Split.LEAF).tolist()
            if not tree.tokens[at + 1 : at + 3].any()
        ]
        found = 0
        for at in last[:: max(1, len(last) // 12)]:
            inner = int((tree.tokens[:at] != Split.LEAF).sum())
            bare = replace(
                tree, tokens=np.delete(tree.tokens, [at + 1, at + 2]),
                places=np.delete(tree.places, inner), hints=None,
            )
            bare.tokens[at] = Split.LEAF
            trees = (*data.trees[:number], bare, *data.trees[number + 1 :])
            worse = with_data(proof, replace(data, trees=trees))
            whole = result(worse)
            assert all(result(worse, Spread(pieces)) == whole for pieces in (4, 16))
            found += whole == "rejected"
        assert found > 3


@pytest.mark.parametrize("seed", range(6))
def test_changed_trees_are_judged_alike(seed: int) -> None:
    random = np.random.default_rng(seed)
    for proof in [proof_of(seed, *parts) for _, *parts in true_claims()]:
        for _ in range(6):
            changed = with_data(proof, mutated(random, data_of(proof)))
            whole = result(changed)
            assert result(changed, Spread(5)) == whole
            assert result(changed, Spread(30)) == whole


def test_tiny_trees_in_pieces() -> None:
    """The same, and none of the pieces can be left out."""
    for seed in range(3):
        for _, *parts in true_claims():
            proof = proof_of(seed, *parts)
            assert result(proof) == result(proof, Spread(3)) == result(proof, Spread(50))
            for nothing in (lambda function, pieces: list(pieces)[:0], lambda *rest: []):
                with pytest.raises(CertificateRejected):
                    check(proof, spread=Spread(3, nothing))


@pytest.mark.parametrize("spoil", [
    lambda answers: answers[:-1],
    lambda answers: answers[1:],
    lambda answers: [*answers, answers[0]],
    lambda answers: [answers[0], *answers[:-1]],
    lambda answers: answers[::-1],
    lambda answers: [],
])
def test_every_piece_has_to_come_back(
    spoil: Callable[[list[Any]], list[Any]], proofs: list[Certificate]
) -> None:
    def across(function: Callable[[Any], Any], pieces: Iterable[Any]) -> list[Any]:
        return spoil([function(piece) for piece in pieces])

    with pytest.raises(CertificateRejected, match="answers are not those"):
        check(proofs[0], spread=Spread(10, across))


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_every_piece_has_to_be_asked_for(taken: int, proofs: list[Certificate]) -> None:
    """Answers to some pieces, while the others were never taken."""
    def across(function: Callable[[Any], Any], pieces: Iterable[Any]) -> list[Any]:
        return [function(piece) for piece in islice(pieces, taken)]

    for proof in proofs[:2]:
        with pytest.raises(CertificateRejected, match="answers are not those"):
            check(proof, spread=Spread(10, across))


def test_two_processes_give_the_same(proofs: list[Certificate], tmp_path: Path) -> None:
    for number, proof in enumerate(proofs[:2]):
        save(proof, tmp_path / f"{number}.json")
        found = iso.check(tmp_path / f"{number}.json", jobs=2)
        assert found.holds and found.upper == result(proof)


def test_two_processes_reject_what_one_rejects(proofs: list[Certificate]) -> None:
    tighter = replace(proofs[0].claim, relation=Within(Fraction(0.0008) / 2))
    for false in (
        replace(proofs[0], claim=tighter),
        with_data(proofs[0], Trees(data_of(proofs[0]).slots, 40, ())),
        with_data(proofs[1], replace(data_of(proofs[1]), trees=data_of(proofs[1]).trees[1:])),
    ):
        with pytest.raises(CertificateRejected):
            iso.check(false, jobs=2)


def test_a_check_says_how_far_it_is_and_ends(proofs: list[Certificate]) -> None:
    lines: list[str] = []
    nodes = sum(len(tree.tokens) for tree in data_of(proofs[0]).trees)
    slow = Checking(pieces=8, nodes=nodes, report=lines.append)

    def across(function: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        def late(piece: Any) -> Any:
            time.sleep(0.15)
            return function(piece)

        yield from slow.across(late, pieces)

    assert check(proofs[0], spread=Spread(8, across)).holds
    assert lines and "s left" in lines[0]
    with pytest.raises(OutOfTime):
        check(proofs[0], spread=Checking(pieces=8, until=time.perf_counter()).spread)


def test_no_processes_at_all_are_refused(proofs: list[Certificate]) -> None:
    with pytest.raises(iso.Refused, match="0 processes"):
        iso.check(proofs[0], jobs=0)
