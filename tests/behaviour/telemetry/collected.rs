//! What a collector was told.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::metrics::v1::metric;
use ticketd::metrics;

use super::{CANARY, ELSEWHERE, SPAN_ID, TRACE_ID};
use crate::otlp_collector::Collector;

/// What the collector got of all three kinds.
pub(super) fn received(collector: &Collector) {
    let resources = collector.resources();
    assert!(resources.iter().all(|it| it.contains("service.name") && it.contains("\"ticketd\"")), "{resources:?}");

    let spans = collector.spans();
    let calls = spans.iter().filter(|span| hex(&span.trace_id) == TRACE_ID && hex(&span.parent_span_id) == SPAN_ID);
    assert_eq!(calls.count(), 12, "the calls that came with a traceparent");
    let exchange = spans.iter().find(|span| span.name == "superoffice.request").unwrap();
    assert!(spans.iter().any(|span| span.span_id == exchange.parent_span_id && span.trace_id == exchange.trace_id));

    let logs = collector.logs();
    let of = |text: &str| logs.iter().find(|record| format!("{:?}", record.body).contains(text));
    let refused = of("call refused").expect("a refusal is logged");
    let span = spans.iter().find(|span| span.span_id == refused.span_id).expect("with its span");
    assert_eq!(span.trace_id, refused.trace_id);
    assert!(of("the renewal failed").is_some() && of("serving").is_some());

    let metrics = collector.metrics();
    let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    for known in metrics::ALL {
        let about = known.about();
        assert!(names.contains(about.name) || ELSEWHERE.contains(&about.prometheus_name().as_str()), "{}", about.name);
    }
    let durations = metrics.iter().find(|metric| metric.name == "rpc.server.call.duration").unwrap();
    let Some(metric::Data::Histogram(durations)) = &durations.data else { panic!("{durations:?}") };
    let exemplars = durations.data_points.iter().flat_map(|point| &point.exemplars);
    assert!(exemplars.into_iter().any(|exemplar| hex(&exemplar.trace_id) == TRACE_ID));

    let everything = format!("{spans:?} {logs:?} {metrics:?}");
    assert!(!everything.contains(CANARY), "what came beside the traceparent is kept");
    eprintln!("{} spans, {} log records, {} metrics", spans.len(), logs.len(), metrics.len());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
