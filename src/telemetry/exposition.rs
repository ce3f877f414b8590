use std::fmt::Write as _;

use crate::metrics::{self, Exemplar, Family, Kind, Measured, Series, Unit, Value};

/// A text that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Its own format, 0.0.4.
    Prometheus,
    /// The one with units and exemplars.
    OpenMetrics,
}

impl Exposition {
    /// What a scraper takes that accepts this. It puts `OpenMetrics` first whenever it knows it.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// All metrics as they are this moment. It may take some milliseconds, as [`metrics::read`] does.
    pub fn read(self) -> String {
        self.write(&metrics::read())
    }

    fn write(self, families: &[Family]) -> String {
        let mut text = String::with_capacity(64 * 1024);
        for family in families.iter().filter(|family| !family.series.is_empty()) {
            self.write_family(&mut text, family);
        }
        if self == Self::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }

    fn write_family(self, text: &mut String, family: &Family) {
        let about = family.about;
        let name = about.prometheus_name();
        let family_name = match self {
            Self::OpenMetrics => name.strip_suffix("_total").unwrap_or(&name),
            Self::Prometheus => &name,
        };
        let description = escaped(about.description);
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {family_name} {description}.\n# TYPE {family_name} {}", about.kind);
        if self == Self::OpenMetrics && about.unit == Unit::Seconds && about.kind != Kind::Counter {
            let _ = writeln!(text, "# UNIT {family_name} seconds");
        }
        for Series { labels, value } in &family.series {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{}=\"{}\"", name.replace('.', "_"), escaped(value))).collect();
            match value {
                Value::Count(count) => self.write_sample(text, &name, &labels, &count.to_string(), None),
                Value::Number(number) => self.write_sample(text, &name, &labels, &number.to_string(), None),
                Value::Histogram(measured) => self.write_histogram(text, &name, &labels, measured),
            }
        }
    }

    fn write_histogram(self, text: &mut String, name: &str, labels: &[String], measured: &Measured) {
        let mut count = 0;
        let ends = measured.bounds.iter().map(|bound| self.number(*bound)).chain(["+Inf".to_owned()]);
        for ((end, more), exemplar) in ends.zip(&measured.buckets).zip(&measured.exemplars) {
            count += more;
            let labels = [labels, &[format!("le=\"{end}\"")]].concat();
            self.write_sample(text, &format!("{name}_bucket"), &labels, &count.to_string(), exemplar.as_ref());
        }
        self.write_sample(text, &format!("{name}_sum"), labels, &measured.sum.to_string(), None);
        self.write_sample(text, &format!("{name}_count"), labels, &count.to_string(), None);
    }

    fn write_sample(
        self,
        text: &mut String,
        name: &str,
        labels: &[String],
        value: &str,
        exemplar: Option<&Exemplar>,
    ) {
        text.push_str(name);
        if !labels.is_empty() {
            let _ = write!(text, "{{{}}}", labels.join(","));
        }
        let _ = write!(text, " {value}");
        if let Some(Exemplar { context, value }) = exemplar.filter(|_| self == Self::OpenMetrics) {
            let _ = write!(text, " # {{trace_id=\"{context}\"}} {value}");
        }
        text.push('\n');
    }

    /// Where a bucket ends: `OpenMetrics` writes whole numbers with a fraction.
    fn number(self, number: f64) -> String {
        match self {
            Self::Prometheus => number.to_string(),
            Self::OpenMetrics => format!("{number:?}"),
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{About, TraceContext};

    fn family(kind: Kind, unit: Unit, value: Value) -> [Family; 1] {
        let about = About { name: "ticketd.some_thing", description: "Some thing", unit, kind };
        [Family { about, series: vec![Series { labels: vec![("a.b", "x\"\\\ny".to_owned())], value }] }]
    }

    #[test]
    fn a_counter_is_written_as_each_format_wants() {
        let family = family(Kind::Counter, Unit::None, Value::Count(7));
        assert_eq!(
            Exposition::Prometheus.write(&family),
            "# HELP ticketd_some_thing_total Some thing.\n# TYPE ticketd_some_thing_total counter\n\
             ticketd_some_thing_total{a_b=\"x\\\"\\\\\\ny\"} 7\n"
        );
        assert_eq!(
            Exposition::OpenMetrics.write(&family),
            "# HELP ticketd_some_thing Some thing.\n# TYPE ticketd_some_thing counter\n\
             ticketd_some_thing_total{a_b=\"x\\\"\\\\\\ny\"} 7\n# EOF\n"
        );
    }

    #[test]
    fn a_histogram_has_its_exemplars_in_openmetrics_alone() {
        let exemplar = Exemplar { context: TraceContext { trace_id: [0xab; 16], span_id: [1; 8] }, value: 0.25 };
        let measured = Measured {
            bounds: vec![0.001, 1.0],
            buckets: vec![2, 1, 1],
            sum: 3.5,
            exemplars: vec![None, Some(exemplar), None],
        };
        let family = family(Kind::Histogram, Unit::Seconds, Value::Histogram(measured));
        let text = Exposition::OpenMetrics.write(&family);
        let trace_id = "ab".repeat(16);
        for line in [
            "# UNIT ticketd_some_thing_seconds seconds".to_owned(),
            "ticketd_some_thing_seconds_bucket{a_b=\"x\\\"\\\\\\ny\",le=\"0.001\"} 2".to_owned(),
            format!(
                "ticketd_some_thing_seconds_bucket{{a_b=\"x\\\"\\\\\\ny\",le=\"1.0\"}} 3 # {{trace_id=\"{trace_id}\"}} 0.25"
            ),
            "ticketd_some_thing_seconds_bucket{a_b=\"x\\\"\\\\\\ny\",le=\"+Inf\"} 4".to_owned(),
            "ticketd_some_thing_seconds_sum{a_b=\"x\\\"\\\\\\ny\"} 3.5".to_owned(),
            "ticketd_some_thing_seconds_count{a_b=\"x\\\"\\\\\\ny\"} 4".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let text = Exposition::Prometheus.write(&family);
        assert!(text.contains("le=\"1\"} 3\n") && !text.contains(&trace_id) && !text.contains("# UNIT"), "{text}");
    }

    #[test]
    fn a_scraper_gets_what_it_accepts() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(Exposition::accepted(prometheus), Exposition::OpenMetrics);
        assert_eq!(Exposition::accepted("*/*"), Exposition::Prometheus);
        assert_eq!(Exposition::accepted(""), Exposition::Prometheus);
    }
}
