"""What there is by name, for warnings about a policy: by the settings, and by what engines announce."""

from collections.abc import Sequence

from policies.deployment import Deployment
from policies.task import OTHER
from router.config.settings import Settings
from router.traffic.fleet import Fleet


def deployed(settings: Settings, fleet: Fleet, tasks: Sequence[str]) -> Deployment:
    """Names that a policy may use here now; `tasks` are the classifier's."""
    pools, beats = settings.pools, fleet.heartbeats()
    models = [pool.model for pool in pools] + [beat.model for beat in beats]
    models += [lora for loras in (*(pool.loras for pool in pools), *(beat.loras for beat in beats)) for lora in loras]
    k_max: dict[str, int] = {}
    for name, most in (*((pool.name, pool.k_max) for pool in pools), *((beat.pool, beat.k_max) for beat in beats)):
        k_max[name] = max(most, k_max.get(name, 0))
    return Deployment((*tasks, OTHER), k_max, models, tuple(settings.limits.segments))
