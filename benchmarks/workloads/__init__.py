"""What is measured, one module each; :data:`WORKLOADS` in the order of the document."""

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.report import Report
from benchmarks.workloads import (
    bulk,
    commands,
    durable,
    fairness,
    many,
    memory,
    pipelined,
    requests,
    start,
    summary,
    tls,
)

WORKLOADS: dict[str, Callable[[Bench], Report]] = {
    "bulk": bulk.measure,
    "tls": tls.measure,
    "commands": commands.measure,
    "many": many.measure,
    "pipelined": pipelined.measure,
    "requests": requests.measure,
    "fairness": fairness.measure,
    "memory": memory.measure,
    "start": start.measure,
    "summary": summary.measure,
    "durable": durable.measure,
}
