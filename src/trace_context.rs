//! The trace that a call belongs to, in the W3C's `traceparent` header: taken from who calls, looked up for log lines
//! and exemplars, and handed on to SuperOffice where that is wanted. What comes beside it, `tracestate` and baggage, is
//! arbitrary text of somebody else's: it is neither kept nor handed on.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::metrics::TraceContext;

/// Where a caller names its span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Whether requests to SuperOffice name the trace that they are for.
static TOLD_UPSTREAM: AtomicBool = AtomicBool::new(false);

/// The caller's span, if its `traceparent` can be read.
pub fn of_caller(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => parse(value.to_str().ok()?),
        _ => None,
    }
}

/// Makes `span`, which was not entered yet, a child of the caller's.
pub fn adopt(span: &Span, caller: SpanContext) {
    // Without a collector there is nothing to make a child of, which is as well.
    let (Ok(()) | Err(_)) = span.set_parent(Context::new().with_remote_span_context(caller));
}

/// The trace of a span that is exported, or of a caller's that is kept elsewhere.
pub fn of(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let context = context.span().span_context().clone();
    (context.is_valid() && context.is_sampled()).then(|| plain(&context))
}

/// The trace of the span that is entered.
pub fn current() -> Option<TraceContext> {
    of(&Span::current())
}

/// What a measurement's exemplar needs of a caller's span.
pub fn sampled(caller: &SpanContext) -> Option<TraceContext> {
    caller.is_sampled().then(|| plain(caller))
}

/// From now on requests to SuperOffice carry a `traceparent`, or no longer do.
pub fn tell_upstream(is_told: bool) {
    TOLD_UPSTREAM.store(is_told, Ordering::Relaxed);
}

/// Names the trace in a request to SuperOffice, if that is wanted.
pub fn hand_on(headers: &mut HeaderMap) {
    if TOLD_UPSTREAM.load(Ordering::Relaxed)
        && let Some(TraceContext { trace_id, span_id }) = current()
    {
        let (trace_id, span_id) = (TraceId::from_bytes(trace_id), SpanId::from_bytes(span_id));
        if let Ok(value) = HeaderValue::try_from(format!("00-{trace_id}-{span_id}-01")) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

fn plain(context: &SpanContext) -> TraceContext {
    TraceContext { trace_id: context.trace_id().to_bytes(), span_id: context.span_id().to_bytes() }
}

/// `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`. Of a later version, which may have more at its end, that much is
/// read, as the specification wants.
fn parse(text: &str) -> Option<SpanContext> {
    let is_hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.splitn(5, '-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if !is_hex(version, 2) || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    if !is_hex(trace_id, 32) || !is_hex(span_id, 16) || !is_hex(flags, 2) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        flags,
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_by_the_specification() {
        let context = parse(GOOD).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        assert!(!parse(&GOOD.replace("-01", "-00")).unwrap().is_sampled());
        assert!(parse(&format!("cc{}-what-comes-later", &GOOD[2..])).is_some());
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn two_of_them_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(of_caller(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(of_caller(&headers).is_none());
    }

    proptest! {
        #[test]
        fn whatever_comes_does_no_harm(text in "\\PC*") {
            let _read = parse(&text);
        }
    }
}
