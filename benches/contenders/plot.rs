//! Bars, as SVG.

use std::fmt::Write as _;

const ROW: usize = 34;
const LABELS: usize = 220;
const BARS: f64 = 420.0;

/// One bar for each name, the longest as long as there is room.
pub(crate) fn bars(title: &str, unit: &str, values: &[(&str, f64)]) -> String {
    let longest = values.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let height = 60 + values.len() * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"720\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"16\" font-weight=\"bold\">{title}</text>\n\
         <text x=\"16\" y=\"44\" fill=\"#555\">{unit}</text>\n"
    );
    for (row, (name, value)) in values.iter().enumerate() {
        let top = 58 + row * ROW;
        let width = value / longest * BARS;
        let color = if name.starts_with("ticketd") { "#0a7f5a" } else { "#8fa3b0" };
        let (middle, end) = (top + 16, f64::from(u32::try_from(LABELS).unwrap_or_default()) + width + 8.0);
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{middle}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LABELS}\" y=\"{top}\" width=\"{width:.0}\" height=\"22\" rx=\"3\" fill=\"{color}\"/>\
             <text x=\"{end:.0}\" y=\"{middle}\">{value:.1}</text>",
            x = LABELS - 10,
        );
    }
    svg.push_str("</svg>\n");
    svg
}
