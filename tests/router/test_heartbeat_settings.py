"""How often engines announce themselves, and for how long that holds."""

import pytest
from pydantic import ValidationError

from router.config.settings import RouterSettings


@pytest.mark.parametrize(("every_s", "ttl_s"), [(2.5, 5.0), (1.0, 2.0), (3.0, 1.0)])
def test_one_late_heartbeat_takes_no_engine_away(every_s: float, ttl_s: float) -> None:
    """Two intervals are the least that tells late from gone."""
    with pytest.raises(ValidationError, match=f"more than twice heartbeat_s .{every_s}"):
        RouterSettings(heartbeat_s=every_s, heartbeat_ttl_s=ttl_s)
    RouterSettings(heartbeat_s=every_s, heartbeat_ttl_s=2 * every_s + 0.1)
