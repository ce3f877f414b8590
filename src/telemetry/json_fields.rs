use std::fmt;

use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormattedFields;
use tracing_subscriber::fmt::format::{self, FormatFields, Writer};

/// A span's fields as JSON. What is recorded later is appended: the subscriber's own reads all that is there and writes it
/// anew each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonFields;

impl<'a> FormatFields<'a> for JsonFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'a>, fields: R) -> fmt::Result {
        format::JsonFields::new().format_fields(writer, fields)
    }

    /// A field that is recorded again is there twice, and who reads JSON takes the last.
    fn add_fields(&self, current: &'a mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let mut more = String::new();
        self.format_fields(Writer::new(&mut more), fields)?;
        match (current.fields.strip_suffix('}').map(str::len), more.strip_prefix('{')) {
            (Some(before), Some(more)) if before > 1 && more.len() > 1 => {
                current.fields.truncate(before);
                current.fields.push(',');
                current.fields.push_str(more);
            }
            (Some(_), Some("}")) => {}
            _ => current.fields = more,
        }
        Ok(())
    }
}
