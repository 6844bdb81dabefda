"""What looks like a slip in the policy in use, said in the log once for each policy."""

import logging
from collections.abc import Callable

from policies.deployment import Deployment
from policies.document import Document
from policies.warnings import said, warnings_of

logger = logging.getLogger("alpharoute.policy")


class Slips:
    """Looks at the policy in use; `deployment` says what there is now."""

    def __init__(self, deployment: Callable[[], Deployment]) -> None:
        self._deployment = deployment
        self._seen: Document | None = None

    def look(self, version: int, document: Document) -> None:
        """One line of the log for each warning about a document that was not looked at before."""
        if document is self._seen:
            return
        self._seen = document
        source = f"version {version}" if version else "the settings or of policy_file"
        for problem in warnings_of(document, self._deployment()):
            logger.warning("the policy of %s: %s", source, said(problem))
