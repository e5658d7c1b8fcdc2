from tests.bundle_fixtures import built, bundle, cached_phantoms, cached_traces, checkpoint

__all__ = ["built", "bundle", "cached_phantoms", "cached_traces", "checkpoint"]
