"""What a node counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The counters of one node. No label holds anything about a patient."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.images = Counter("wmh_node_images", "Images received", registry=registry)
        self.ignored = Counter(
            "wmh_node_objects_ignored", "Objects received that are no MR images", registry=registry
        )
        self.refused = Counter(
            "wmh_node_images_refused", "Images refused", ["reason"], registry=registry
        )
        self.studies = Counter(
            "wmh_node_studies", "Studies finished", ["outcome"], registry=registry
        )
        self.sent = Counter(
            "wmh_node_results_sent", "Results sent", ["destination"], registry=registry
        )
        self.send_failures = Counter(
            "wmh_node_send_failures",
            "Attempts to send that failed",
            ["destination"],
            registry=registry,
        )
        self.seconds = Histogram(
            "wmh_node_study_seconds", "Time to segment a study", buckets=_SECONDS, registry=registry
        )
        self.studies_waiting = Gauge(
            "wmh_node_studies_waiting", "Studies that are not done yet", registry=registry
        )
        self.results_waiting = Gauge(
            "wmh_node_results_waiting",
            "Results that are not sent yet",
            ["destination"],
            registry=registry,
        )
        self.free_bytes = Gauge("wmh_node_free_bytes", "Free disk space", registry=registry)

    def text(self) -> bytes:
        """Return all values in the text format of Prometheus."""
        return generate_latest(self._registry)
