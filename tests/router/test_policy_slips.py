"""What looks like a slip in the policy in use is said in the log, once for each policy."""

import logging

import pytest
from operators import router_over

from router.steering.running import memory_stores, steered

FROM_THE_START = {"rules": [{"when": {"task": []}, "then": {"k": 2}}]}


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "alpharoute.policy"]


async def test_the_log_says_what_looks_like_a_slip(caplog: pytest.LogCaptureFixture) -> None:
    """Of the settings' policy at the start, of a version when it is taken up; each once however often one looks."""
    caplog.set_level(logging.WARNING)
    part = router_over(memory_stores(), policy=FROM_THE_START)
    async with steered(part, 3600.0):
        part.look()
        (line,) = _lines(caplog)
        assert line.startswith("the policy of the settings or of policy_file: rules.0.when.task: []: never holds")
        text = "windows: [{from_hour: 1, to_hour: 2, k_max: 1, segment: bacth}]"
        version = await part.steering.create(text, "ana", "")
        await part.steering.activate(version.id, "ana", "")
        await part.pilot.exchange()
        part.look()
        part.look()
    assert len(_lines(caplog)) == 2
    assert _lines(caplog)[1].startswith("the policy of version 1: windows.0.segment: 'bacth': unknown segment")
