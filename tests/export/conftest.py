from tests.bundle_fixtures import built, bundle, cached_phantoms, checkpoint

__all__ = ["built", "bundle", "cached_phantoms", "checkpoint"]
