"""What breaks first, and at which size: a model of several hosts, a database and a bucket.

Rules:

- Costs of processor time are fitted to the points in docs/performance.json; everything else is a named assumption.
- `demand` is arithmetic: what a day's bytes ask of each resource. `simulate` plays one resource with random arrivals,
  and so says how full it may be before uploads wait.

`python -m bench.capacity` prints the table of docs/scaling.md.
"""

import heapq
import json
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
DAY = 86_400
GB, TB, PB = 10**9, 10**12, 10**15
MIB = 1 << 20
KIB = 1 << 10
FULL = 0.7
"""The share of a resource that may be used: above it, uploads wait for each other (see `simulate`)."""

SIZES = (100 * GB, TB, 10 * TB, 100 * TB, PB)
"""Bytes a day, of the table."""

POINTS: Mapping[str, float] = {"one-patch": 0.0, "chunks-8m": GB / (8 * MIB), "chunks-500k": GB / (500 * KIB)}
"""Works of the report, each with its PATCH requests for a GB, beside the one that all have."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Processor time of the server on the machine of the report, in seconds."""

    per_gb: float
    """To move a GB."""
    per_request: float
    """For each request more."""
    per_upload: float
    """To create, look at, complete and forget an upload."""

    def of_a_gb(self, requests: float) -> float:
        """For a GB that comes in so many requests more than one."""
        return self.per_gb + requests * self.per_request


@dataclass(frozen=True, kw_only=True)
class Site:
    """What there is, and how people use it. The defaults are assumptions: put your own numbers here."""

    upload_bytes: int = 200_000_000
    chunk_bytes: int = 8 * MIB
    seconds_a_gb: float = 300
    """How long a client takes for a GB: 27 Mbit/s."""
    peak: float = 3.0
    """The busiest hour against the mean of a day."""
    cores: int = 8
    """Of a web host."""
    s3_factor: float = 3.0
    """Processor time for a GB into a bucket, against one onto the disk: TLS, checksums and copies in memory."""
    network_bytes: float = 10e9 / 8
    """A second, of a web host: each byte comes in and goes out once."""
    sockets: int = 4000
    """Uploads at once that a web host holds."""
    encode_cores_a_gb: float = 900
    """Core-seconds to make an MP4 of a GB."""
    worker_cores: int = 32
    commits: float = 4000
    """Transactions a second of one PostgreSQL on good disks."""
    commits_an_upload: float = 12
    commits_a_chunk: float = 3
    """Lease, parts and release of a request of several hosts."""
    connections: int = 500
    """That PostgreSQL takes; each process of a host has at most `pool`."""
    pool: int = 10
    part_bytes: int = 8 * MIB
    requests_a_prefix: float = 3500
    """Writing requests a second that a bucket takes for a prefix (AWS documents this number)."""
    price_put: float = 5e-6
    """Of a writing request."""
    price_gb_month: float = 0.023
    kept_days: float = 30

    @property
    def chunks(self) -> float:
        """PATCH requests of an upload."""
        return max(1.0, self.upload_bytes / self.chunk_bytes)

    @property
    def s3_requests(self) -> float:
        """Writing requests of an upload: parts, and two more; one for a small upload."""
        parts = -(-self.upload_bytes // self.part_bytes)
        return parts + 2 if parts > 1 else 1


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a size needs in its busiest hour, and a day's bill."""

    uploads_a_second: float
    web_hosts: float
    """Of which the processor, the network or the sockets are full to `FULL`."""
    web_limit: str
    """Which of the three it is."""
    workers: float
    commits: float
    """Transactions a second."""
    databases: float
    """How many PostgreSQL of the assumed kind these fill to `FULL`."""
    connections: float
    s3_requests: float
    """Writing requests a second."""
    prefixes: float
    """How many prefixes of a bucket these fill to `FULL`."""
    rows_a_day: float
    """Of uploads, tasks, files, steps and events."""
    dollars_a_day: float
    """Requests, and the storage of what a day adds, for as long as it is kept."""


_ROWS_AN_UPLOAD = 16


def fit(report: Path = ROOT / "docs/performance.json") -> Costs:
    """The costs that fit the measured points best (least squares)."""
    found = points(report)
    xs, ys = list(found), list(found.values())
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in found.items()) / sum((x - mean_x) ** 2 for x in xs)
    return Costs(
        per_gb=mean_y - slope * mean_x, per_request=slope, per_upload=measured(report, "cycles", "cpu_ms") / 1e3
    )


def points(report: Path = ROOT / "docs/performance.json") -> dict[float, float]:
    """Requests of a GB, and the processor time that was measured for it."""
    return {requests: measured(report, work, "cpu_s_gb") for work, requests in POINTS.items()}


def measured(report: Path, work: str, value: str) -> float:
    """The median of our server's rounds."""
    cells = json.loads(report.read_text())["cells"]
    ours = [cell["values"][value] for cell in cells if (cell["work"], cell["server"]) == (work, "videodock")]
    return float(median(ours))


def demand(bytes_a_day: float, costs: Costs, site: Site) -> Demand:
    """What so many bytes a day need, in the busiest hour."""
    rate = bytes_a_day / DAY * site.peak
    uploads = rate / site.upload_bytes
    requests_a_gb = (site.chunks - 1) * GB / site.upload_bytes
    cpu = rate / GB * costs.of_a_gb(requests_a_gb) * site.s3_factor + uploads * costs.per_upload
    of_web = {
        "processor": cpu / (site.cores * FULL),
        "network": 2 * rate / (site.network_bytes * FULL),
        "sockets": rate / GB * site.seconds_a_gb / (site.sockets * FULL),
    }
    limit = max(of_web, key=lambda name: of_web[name])
    commits = uploads * (site.commits_an_upload + site.chunks * site.commits_a_chunk)
    workers = rate / GB * site.encode_cores_a_gb / (site.worker_cores * FULL)
    processes = -(-max(1.0, of_web[limit]) // 1) * site.cores + -(-max(1.0, workers) // 1)
    s3_requests = uploads * site.s3_requests
    day = bytes_a_day / site.upload_bytes
    return Demand(
        uploads_a_second=uploads,
        web_hosts=of_web[limit],
        web_limit=limit,
        workers=workers,
        commits=commits,
        databases=commits / (site.commits * FULL),
        connections=processes * site.pool,
        s3_requests=s3_requests,
        prefixes=s3_requests / (site.requests_a_prefix * FULL),
        rows_a_day=day * _ROWS_AN_UPLOAD,
        dollars_a_day=day * site.s3_requests * site.price_put
        + bytes_a_day / GB * site.price_gb_month * site.kept_days / 30,
    )


def simulate(load: float, servers: int, *, arrivals: int = 20_000, seed: int = 1) -> tuple[float, float]:
    """Random arrivals at so many servers (cores, or connections), of which the share `load` is needed.

    Each work takes a unit of time on average. Returns the share of the servers that was busy, and the 99th percentile
    of how long a work waited, in units of work.
    """
    dice = random.Random(seed)
    free = [0.0] * servers
    now = busy = end = 0.0
    waits = []
    for _ in range(arrivals):
        now += dice.expovariate(load * servers)
        begin = max(now, heapq.heappop(free))
        takes = dice.expovariate(1.0)
        heapq.heappush(free, begin + takes)
        waits.append(begin - now)
        busy += takes
        end = max(end, begin + takes)
    return busy / (end * servers), sorted(waits)[int(0.99 * arrivals)]


def first_limit(site: Site, costs: Costs) -> list[tuple[str, float]]:
    """What one web host, one worker, one PostgreSQL and one prefix take a day, the smallest first, in bytes."""
    one = demand(TB, costs, site)
    shares = {
        "one worker": one.workers,
        "one web host": one.web_hosts,
        "PostgreSQL's transactions": one.databases,
        "requests to a prefix": one.prefixes,
    }
    limits = [(name, TB / share) for name, share in shares.items()]
    size = TB // 10  # connections grow in steps of hosts
    while demand(size, costs, site).connections < site.connections:
        size = int(size * 1.05)
    return sorted([*limits, ("PostgreSQL's connections", float(size))], key=lambda limit: limit[1])


def table(costs: Costs, site: Site) -> str:
    """The table of docs/scaling.md."""
    names = ("a day", "uploads a second", "web hosts", "workers", "transactions a second", "S3 requests a second")
    columns = [*names, "rows a day", "$ a day"]
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for size in SIZES:
        need = demand(size, costs, site)
        lines.append(
            f"| {_size(size)} | {_number(need.uploads_a_second)} | {_hosts(need.web_hosts)} ({need.web_limit}) "
            f"| {_hosts(need.workers)} | {_number(need.commits)} | {_number(need.s3_requests)} "
            f"| {_number(need.rows_a_day)} | {_number(need.dollars_a_day)} |"
        )
    limits = ", ".join(f"{name} at {_size(size)}" for name, size in first_limit(site, costs))
    return "\n".join([*lines, "", f"What one of each takes a day: {limits}."])


def _hosts(share: float) -> str:
    return f"{int(-(-share // 1)):,}"


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{round(value, -len(str(int(value))) + 2):,.0f}"


def _size(size: float) -> str:
    unit, name = (PB, "PB") if size >= PB else (TB, "TB") if size >= TB else (GB, "GB")
    return f"{size / unit:.2g} {name}" if size / unit < 10 else f"{size / unit:.0f} {name}"


if __name__ == "__main__":
    sys.stdout.write(table(fit(), Site()) + "\n")
