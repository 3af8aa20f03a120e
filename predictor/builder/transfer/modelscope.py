"""Models on ModelScope, by the API that its own client uses."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from predictor.builder.errors import TransferFailed
from predictor.builder.transfer.digests import ContentDigest
from predictor.builder.transfer.download import refusal
from predictor.builder.transfer.http import TransferHttp
from predictor.builder.transfer.listing import SourceFile, SourceListing, needed_names

ENDPOINT = "https://www.modelscope.cn"
ENDPOINT_VARIABLE = "MODELSCOPE_ENDPOINT"


def modelscope_listing(
    http: TransferHttp, name: str, revision: str | None, *, endpoint: str, token: str | None
) -> SourceListing:
    """The needed files of a model.

    Args:
        http: to ask with.
        name: ``organization/model``.
        revision: branch, tag or commit; None is ``master``.
        endpoint: URL of the hub.
        token: of a user, for private models.

    Raises:
        TransferFailed: there is no such model, it cannot be seen, or nothing can be built from it.
    """
    wanted = revision or "master"
    headers = {"Cookie": f"m_session_id={token}"} if token else {}
    base = f"{endpoint}/api/v1/models/{quote(name)}/repo"
    answer = http.send(
        "GET", f"{base}/files", headers=headers, parameters={"Revision": wanted, "Recursive": "true"}
    )
    if answer.status != 200:
        raise refusal(f"{base}/files", answer)
    document = answer.json()
    try:
        entries = {str(each["Path"]): each for each in document["Data"]["Files"] if each["Type"] != "tree"}
        needed = needed_names(entries, f"modelscope://{name}")
        files = [
            SourceFile(
                path,
                f"{base}?{urlencode({'Revision': wanted, 'FilePath': path})}",
                int(entries[path]["Size"]),
                ContentDigest("sha256", str(found)) if (found := entries[path].get("Sha256")) else None,
            )
            for path in needed
        ]
    except (KeyError, TypeError, ValueError) as error:
        said = document.get("Message") if isinstance(document, dict) else None
        raise TransferFailed(
            f"{base}/files did not answer as ModelScope does: {said or repr(error)}"
        ) from error
    return SourceListing(f"modelscope://{name}@{wanted}", files, lambda: headers)
