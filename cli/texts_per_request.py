"""The option `--texts-per-request` of `yiwen simulate` and `yiwen plan`."""

from __future__ import annotations

from typing import Any

from typer import Option

TEXTS_PER_REQUEST: Any = Option(
    metavar="N", help="texts of a request, or shares of requests by their texts, as in 1:0.9,64:0.1 (1)"
)


def parse_texts_per_request(text: str) -> int | dict[int, float]:
    """The value of the option, as :class:`knative.simulator.load.workload.Traffic` has it.

    Raises:
        SimulationError: it is neither a number nor a list of shares.
    """
    from knative.simulator.errors import SimulationError

    try:
        if ":" not in text:
            return int(text)
        pairs = [part.split(":") for part in text.split(",")]
        shares = {int(count): float(share) for count, share in pairs}
    except ValueError as error:
        raise SimulationError("--texts-per-request must be N or N:SHARE,..., as in 1:0.9,64:0.1") from error
    if len(shares) < len(pairs):
        raise SimulationError("--texts-per-request names a number of texts twice: give each one share")
    return shares
