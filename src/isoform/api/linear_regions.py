# SPDX-License-Identifier: Apache-2.0
"""Linear regions of a model: count, list, certify, estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isoform.api.destinations import check_folder
from isoform.api.domains import array_file, numbers, present
from isoform.api.domains import domain as parse_domain
from isoform.api.reading import read
from isoform.bounds.matrices import flat_primitive
from isoform.certificate.certificate import Certificate
from isoform.certificate.check import Accepted
from isoform.certificate.check import check as accept
from isoform.certificate.evidence import Evidence
from isoform.certificate.region_evidence import Regions as RegionEvidence
from isoform.certificate.region_evidence import Stream
from isoform.certificate.region_tree import Checked, check_streams
from isoform.errors import CertificateRejected, ContractBroken, DomainError, Refused
from isoform.forms.model import Model
from isoform.network.charts import Chart, charts
from isoform.network.claim import Claim, RegionCount
from isoform.network.domain import Domain, bound_to, exact_number
from isoform.network.network import Network
from isoform.network.slices import sliced, through
from isoform.network.unit_layers import UnitLayers, unit_layers
from isoform.numerics.exact import Exact, concatenate
from isoform.text import plural

if TYPE_CHECKING:
    from isoform.regions.enumeration import Enumeration
    from isoform.regions.estimate import RegionEstimate
    from isoform.regions.facets import Place
    from isoform.regions.layer_bounds import Bound
    from isoform.regions.listing import Regions
    from isoform.regions.progress import Progress
    from isoform.regions.queries import Segment
    from isoform.regions.region import Region

KINDS = ("activation", "connected", "affine")
FEW_STEPS = 300_000  # recorded steps that are checked without being asked for: some seconds


@dataclass(frozen=True, eq=False)
class Piecewise:
    """A model, or its restriction to a slice, as a piecewise-linear network on a domain.

    network: primitive, recurrences unrolled. pieces: the charts of the domain, in whose coordinates
    witnesses are. through: the points of the slice (k + 1, d), whose coordinates `domain` is about.
    """

    model: Model
    network: Network
    domain: Domain
    layers: UnitLayers
    pieces: tuple[Chart, ...]
    through: Exact | None = None

    @cached_property
    def places(self) -> tuple[Place, ...]:
        from isoform.regions.facets import places

        return places(self.pieces)


def piecewise(model: Any, on: Domain, slice_through: Any = None) -> Piecewise:
    """The network whose regions are asked for.

    slice_through: k + 1 points of the inputs (k + 1, d): the slice through them, whose coordinates
    u are 0 at the first and the unit vectors at the others; `on` is then a domain of u.

    Raises UnsupportedModel for what is not piecewise linear, DomainError for a flat domain or
    dependent points, Refused for a set without interior.
    """
    held = read(model)
    network = flat_primitive(held.network)
    points = None if slice_through is None else exact_number(slice_through)
    if points is not None:
        if points.ndim == 2 and points.shape[1] != network.dimension:
            raise DomainError(
                f"the points of the slice have {plural(points.shape[1], 'number')}, the network "
                f"takes {plural(network.dimension, 'input')}"
            )
        network = sliced(network, *through(points))
    layers = unit_layers(network)
    if points is not None and getattr(on, "dimension", None) not in (None, layers.dimension):
        raise DomainError(
            f"the domain has dimension {on.dimension}, the slice through {len(points)} points has "
            f"{layers.dimension}; --on speaks of the coordinates of the slice"
        )
    domain = bound_to(on, layers.dimension)
    return Piecewise(held, network, domain, layers, charts(layers, domain), points)


@dataclass(frozen=True, eq=False)
class LinearRegions:
    """The linear regions of a network on a domain.

    kind: activation (full-dimensional cells of one activation pattern), connected (activation
    regions joined across facets where the affine map is the same) or affine (distinct affine maps).
    count: of this kind; a lower bound where `complete` is false. `verdict`: "proved" where the
    checker has re-derived the count of activation regions (`checked` is what it said), else None.
    audited: what the checker has re-derived of a bare count, by single subtrees; no proof of it.
    """

    of: Piecewise
    kind: str
    count: int
    found: Enumeration = field(repr=False)
    certificate: Certificate | None = field(repr=False, default=None)
    checked: Accepted | None = field(repr=False, default=None)
    audited: Checked | None = field(repr=False, default=None)

    @property
    def complete(self) -> bool:
        return self.found.complete

    @property
    def activation(self) -> int:
        """How many activation regions there are."""
        return self.found.count

    @property
    def verdict(self) -> str | None:
        return "proved" if self.checked is not None and self.complete else None

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Published bounds that hold for this network."""
        from isoform.regions.layer_bounds import bounds_of

        return bounds_of(self.of.layers)

    @property
    def steps(self) -> int:
        """Recorded steps of the search, which the checker re-derives one by one."""
        return steps(self.found)

    def at(self, point: Any) -> Region:
        """The activation region of a point of the domain, with its facets and affine map."""
        return region_at(self.of, point)

    def along(self, start: Any, end: Any) -> Segment:
        """The activation regions that a segment meets, in order."""
        return regions_along(self.of, start, end)

    def neighbours(self, region: Region) -> tuple[Region, ...]:
        """The regions behind the facets of a region, in the order of its facets."""
        from isoform.regions.queries import neighbours

        return neighbours(region)

    def within(self, centre: Any, radius: Any) -> Regions:
        """The activation regions that a ball of the max norm meets, listed by a search of their
        own; witnesses are in the coordinates of the ball (-1 to 1)."""
        from isoform.regions.queries import within

        return within(self.of.places, centre, radius)[1]

    def volumes(self) -> np.ndarray:
        """Volumes of the listed activation regions, in up to four dimensions; floats."""
        from isoform.regions.volume import volumes

        return volumes(self.of.places, self.listed())

    def save(self, path: str | Path, output: int | None = None) -> None:
        """A picture of two inputs or a plane slice (.png), coloured by the largest output or by the
        gradient of the only (or the given) `output`; or the list with witnesses in the inputs (of
        the slice) and affine maps (.npz, .parquet)."""
        if Path(path).suffix.lower() == ".png":
            from isoform.report.region_picture import draw

            return draw(self, path, output)
        from isoform.regions.export import export

        return export(self.found, path, self.of.layers)

    def listed(self) -> Regions:
        """All activation regions in the order of their patterns, in memory."""
        from isoform.regions.listing import none_of

        found = self.found
        return next(found.chunks(max(1, found.count)), none_of(found.units, found.dimension))

    def __repr__(self) -> str:
        least = "" if self.complete else "at least "
        return f"LinearRegions({least}{self.count:,} {KIND_NAMES[self.kind]} on {self.of.domain!r})"


KIND_NAMES = {
    "activation": "activation regions",
    "connected": "connected linear regions",
    "affine": "distinct affine pieces",
}


def regions(
    model: Any, *, on: Domain | str, slice_through: Any = None, kind: str = "activation",
    listed: bool = True, audit: float = 0.0, seed: int = 0,
    store: str | Path | None = None,
    budget: Mapping[str, Any] | None = None, workers: int | None = None,
    cluster: str | None = None, prove: bool | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> LinearRegions:
    """Find all linear regions of a model on a domain.

    kind: see `LinearRegions`. listed: false keeps the number alone, for more regions than fit in
    memory; audit: the share of the search's subtrees, chosen by `seed`, that the checker then
    re-derives. store: a file that keeps them, and from which the same call goes on. budget: at most
    so many `regions`, `seconds`, `bytes` for this call; what was found is kept. workers: processes,
    by default all cores once a search takes over a second; cluster: a Dask scheduler's address.
    prove: record the search's tree and let the independent checker re-derive the count; by default
    where that is a matter of seconds.

    Raises the errors of `piecewise`, Refused for a kind that there is not, for a store of another
    network and for options that exclude each other, ContractBroken where the checker rejects what
    the search has recorded.
    """
    from isoform.regions.enumeration import enumerate_regions, origin
    from isoform.regions.tasks import Budget

    if kind not in KINDS:
        raise Refused(f"{kind!r} is no kind of linear region; there are {', '.join(KINDS)}")
    if not listed and (kind != "activation" or store is not None or prove):
        raise Refused("a bare count is of activation regions, without store and without proof")
    if not 0 <= audit <= 1 or audit and listed:
        raise Refused(f"an audit of {audit:g}: give a share from 0 to 1 of a bare count's subtrees")
    of = piecewise(model, as_domain(on), slice_through)
    record = listed and (store is None if prove is None else prove)
    found = enumerate_regions(
        of.pieces, origin=origin(of.network, of.domain), store=store,
        budget=Budget(**budget) if budget else None, workers=workers, cluster=cluster,
        record=record, progress=progress, listed=listed, audit=audit, seed=seed,
    )
    made = LinearRegions(of, kind, counted(of, found, kind), found)
    if audit:
        return replace(made, audited=check_streams(of.pieces[0], streams_of(found, 0)))
    if prove and found.count == 0:
        raise Refused(f"{found.stopped} before a region was found: there is nothing to prove")
    if not record or found.count == 0 or prove is None and steps(found) > FEW_STEPS:
        return made
    return proved(made)


def steps(found: Enumeration) -> int:
    """Tokens that were recorded."""
    return sum(len(stream.codes) for stream in found.streams())


def as_domain(on: Domain | str) -> Domain:
    return parse_domain(on) if isinstance(on, str) else on


def counted(of: Piecewise, found: Enumeration, kind: str) -> int:
    """How many regions of a kind the activation regions make up."""
    if kind == "activation" or found.count == 0:
        return found.count
    from isoform.regions.kinds import affine_kind, connected_kind

    if not found.complete and kind == "connected":
        raise Refused(
            "connected regions are counted on a complete list only: two pieces may yet be joined "
            "by a region that was not found; raise the budget, or go on with --store"
        )
    everything = next(found.chunks(max(1, found.count)))
    count = affine_kind if kind == "affine" else connected_kind
    return count(of.places, everything).count


def streams_of(found: Enumeration, chart: int) -> tuple[Stream, ...]:
    """The recorded streams of a chart, that of the whole chart first, as the checker takes them."""
    return tuple(
        Stream(prefix=s.prefix, codes=s.codes, ids=s.ids, points=s.points, fine=s.fine)
        for s in found.streams() if s.chart == chart
    )


def proved(made: LinearRegions) -> LinearRegions:
    """The same with a certificate that the checker accepts."""
    charts = range(len(made.of.pieces))
    evidence = RegionEvidence(tuple(streams_of(made.found, chart) for chart in charts))
    claim = Claim(RegionCount(made.activation, complete=made.complete), made.of.domain)
    model = made.of.model
    whole = made.of.through is None
    certificate = Certificate(
        source=made.of.network, target=made.of.network, claim=claim,
        evidence=(Evidence("regions", evidence),), conclusion="regions",
        files=(model.digest, model.digest) if whole else (None, None),
        reading=(model.reading, model.reading),
    )
    try:
        checked = accept(certificate)
    except CertificateRejected as error:
        raise ContractBroken("the splitting search", str(error)) from error
    return replace(made, certificate=certificate, checked=checked)


def estimate_regions(
    model: Any, *, on: Domain | str, slice_through: Any = None, seconds: float = 10.0, seed: int = 0
) -> tuple[Piecewise, RegionEstimate]:
    """Predict the number of activation regions by sampling the search's tree; with an interval.

    Refused for all of space, whose charts share regions.
    """
    from isoform.regions.compiled import compiled
    from isoform.regions.estimate import estimate_regions as sampled

    of = piecewise(model, as_domain(on), slice_through)
    if len(of.pieces) > 1:
        raise Refused("an estimate is of a bounded domain; give a box")
    return of, sampled(compiled(of.pieces[0]), seconds=seconds, seed=seed)


def region_at(of: Piecewise, point: Any) -> Region:
    """The activation region of a point; nothing is enumerated."""
    from isoform.regions.queries import region_at

    return region_at(of.places, point)


def regions_along(of: Piecewise, start: Any, end: Any) -> Segment:
    """The activation regions that a segment meets; nothing else is enumerated."""
    from isoform.regions.queries import along

    return along(of.places, start, end)


def points_of(files: Sequence[str]) -> Exact:
    """Points (n, d) from .npy files, an array of d numbers in any shape each. DomainError for a
    file that holds something else."""
    points = []
    for name in files:
        array = array_file(present(name)).ravel()
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DomainError(f"{name} holds NaN or infinity; give finite numbers")
        points.append(numbers(array, name))
    sizes = sorted({len(point) for point in points})
    if len(sizes) > 1:
        raise DomainError(f"points of {sizes[0]} and {sizes[-1]} numbers; give points of one space")
    return concatenate([point.reshape(1, -1) for point in points])


def point_of(text: str) -> Any:
    """A point: exact decimals (0.6 is 3/5) with commas between, or a .npy file."""
    if text.endswith(".npy"):
        return points_of([text])[0]
    return [part.strip() for part in text.split(",")]


def ends_of(text: str) -> tuple[Any, Any]:
    """Two points: A.npy,B.npy or X,Y,.../X,Y,... with exact decimals."""
    files = text.endswith(".npy")
    ends = text.split("," if files else "/")
    if len(ends) != 2:
        raise DomainError(f"{text!r} are no two points; write A.npy,B.npy or X,Y,.../X,Y,...")
    if files:
        points = points_of(ends)
        return points[0], points[1]
    return point_of(ends[0]), point_of(ends[1])


def kernels_are_kept() -> bool:
    """Whether compiled kernels of this version lie on this machine. Where they do not, the first
    search compiles them, for about a minute."""
    import numba

    from isoform.regions.kernel import folder

    place = folder(numba.config.CACHE_DIR)  # type: ignore[attr-defined]
    return bool(place) and any(Path(place).rglob("*.nbi"))


def check_region_output(path: str, of: Piecewise) -> None:
    """Refused before any work where `LinearRegions.save` could not write that file."""
    kind = Path(path).suffix.lower()
    if kind not in (".png", ".npz", ".parquet"):
        raise Refused(f"{path}: regions are written as .png (a picture), .npz or .parquet (a list)")
    check_folder(Path(path))
    if kind == ".png":
        from isoform.report.region_picture import check_plane

        check_plane(of)
