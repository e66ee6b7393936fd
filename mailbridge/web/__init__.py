"""The HTTP service: health, readiness, metrics, and received documents by signed link."""
