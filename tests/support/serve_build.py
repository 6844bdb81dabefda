"""Ray Serve's side of a deployment, imported where warnings are errors: Ray's own import warns of pydantic's future."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeDeploySchema

    from router.app import build_app

__all__ = ["AutoscalingConfig", "ServeDeploySchema", "build_app"]
