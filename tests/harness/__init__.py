"""The harness of the tests: a real Envoy, upstreams that record requests, and clients that control every byte."""
