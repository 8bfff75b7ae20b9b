//! Counts and times of the server for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper ends of latency buckets in seconds.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteAndStatus {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// What is counted.
pub(crate) struct Telemetry {
    registry: Registry,
    requests: Family<RouteAndStatus, Counter>,
    latency: Family<Route, Histogram>,
    in_flight: Gauge,
    rows: Counter,
}

impl Telemetry {
    pub fn new() -> Telemetry {
        let mut registry = Registry::with_prefix("fuseline");
        let requests = Family::<RouteAndStatus, Counter>::default();
        let latency = Family::<Route, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let in_flight = Gauge::default();
        let rows = Counter::default();
        registry.register("requests", "Requests answered, by route and status", requests.clone());
        registry.register("request_seconds", "Time from a request's head to its answer", latency.clone());
        registry.register("requests_in_flight", "Requests that are not answered yet", in_flight.clone());
        registry.register("predicted_rows", "Rows predicted", rows.clone());
        Telemetry { registry, requests, latency, in_flight, rows }
    }

    /// Counts a request as under way until the guard goes, also when its client leaves.
    pub fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// `route` must be one of few: every other value is a new series.
    pub fn answered(&self, route: &str, status: u16, seconds: f64) {
        self.requests.get_or_create(&RouteAndStatus { route: route.to_owned(), status }).inc();
        self.latency.get_or_create(&Route { route: route.to_owned() }).observe(seconds);
    }

    pub fn predicted(&self, rows: usize) {
        self.rows.inc_by(rows as u64);
    }

    /// The page in the text format of OpenMetrics.
    pub fn page(&self) -> String {
        let mut page = String::new();
        match encode(&mut page, &self.registry) {
            Ok(()) => page,
            Err(_) => "# EOF\n".to_owned(),
        }
    }
}

/// A request under way.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
