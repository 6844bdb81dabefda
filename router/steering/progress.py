"""How a shadow and a canary go, over all routers."""

from collections.abc import Iterable
from dataclasses import replace

from policies.steering_trials import Limits
from router.state.store import StoreError
from router.steering.pilot import Pilot
from router.steering.standing import CanaryStatus, ShadowStatus, Status
from router.steering.sums import canary_of, shadow_of
from router.steering.trial_store import TrialStore
from router.steering.versions import Trial


async def progress(pilot: Pilot, trials: TrialStore, router: str, limits: Limits) -> Status:
    """What is in force in the pilot's router, with the sums of trials; where the store is away, of this one."""
    status, shadow, canary = pilot.status(), pilot.shadow, pilot.canary
    if shadow is not None:
        sheets = await _sheets(trials, router, shadow.trial, shadow.sums.sheet())
        status = replace(status, shadow=ShadowStatus(shadow.trial, shadow_of(sheets)))
    if canary is not None:
        sheets = await _sheets(trials, router, canary.trial, canary.sums.sheet())
        status = replace(status, canary=CanaryStatus(canary.trial, canary_of(sheets, limits)))
    return status


async def _sheets(trials: TrialStore, router: str, trial: Trial, own: bytes) -> Iterable[str | bytes]:
    """Those of all routers, this one's as it is now."""
    try:
        sheets = await trials.sheets(trial.run)
    except StoreError:
        return [own]
    return [*(sheet for name, sheet in sheets.items() if name != router), own]
