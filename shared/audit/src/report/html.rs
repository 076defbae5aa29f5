//! A report as one HTML page that prints well and loads nothing. Whatever stands in a cell, it is text.

use super::{Report, Row, second};
use std::fmt::Write as _;

const STYLE: &str = "
@page { size: A4 landscape; margin: 14mm }
* { box-sizing: border-box }
body { font: 13px/1.45 system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; color: #1b1f24; margin: 2rem auto; max-width: 1240px; padding: 0 1rem }
h1 { font-size: 1.7rem; margin: 0 0 .2rem }
p { margin: .2rem 0; color: #4a525b; overflow-wrap: anywhere }
.sum { margin: 1rem 0; padding: .6rem .9rem; border-left: 4px solid #2f7d4f; background: #f2f7f4; color: #1b1f24 }
.sum.bad { border-color: #b3361f; background: #fbf1ef }
table { border-collapse: collapse; width: 100%; margin-top: .8rem; font-size: 11.5px }
thead { display: table-header-group }
tr { break-inside: avoid }
th { text-align: left; border-bottom: 2px solid #1b1f24; padding: .35rem .5rem; vertical-align: bottom }
td { border-bottom: 1px solid #d9dee3; padding: .35rem .5rem; vertical-align: top; overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
td span { white-space: nowrap }
tr.finding td { background: #fbf1ef }
td.finding { color: #8f2410; font-weight: 600 }
footer { margin-top: 1.2rem; border-top: 1px solid #d9dee3; padding-top: .5rem; font-size: 11px; color: #4a525b; overflow-wrap: anywhere }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 11px } table { font-size: 9px } * { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
";

/// What the page says of where it comes from, line by line.
pub struct Source {
    /// For the foot of the page.
    pub lines: Vec<String>,
}

/// The page.
pub fn page(report: &Report, source: &Source) -> String {
    let title = escape(report.kind.title());
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    let period = format!("{} to {}", second(report.period.from), second(report.period.to));
    let findings = report.findings();
    let class = if findings == 0 { "sum" } else { "sum bad" };
    put(&mut html, &format!("<p>{}</p>", escape(report.kind.about())));
    put(&mut html, &format!("<p>Period: {}</p>", escape(&period)));
    put(&mut html, &format!("<p class=\"{class}\">{}</p>", escape(&counted(report.rows.len(), findings))));
    put(&mut html, "<table>\n<thead><tr>");
    for column in report.columns.iter().chain(&["finding"]) {
        put(&mut html, &format!("<th>{}</th>", escape(&column.replace('_', " "))));
    }
    put(&mut html, "</tr></thead>\n<tbody>");
    report.rows.iter().for_each(|row| put_row(&mut html, row));
    put(&mut html, "</tbody>\n</table>\n<footer>");
    source.lines.iter().for_each(|line| put(&mut html, &format!("<div>{}</div>", escape(line))));
    put(&mut html, "</footer>\n</body>\n</html>");
    html
}

/// How many rows and findings, as a sentence.
pub fn counted(rows: usize, findings: usize) -> String {
    let row = if rows == 1 { "row" } else { "rows" };
    match findings {
        0 => format!("{rows} {row}, no finding."),
        1 => format!("{rows} {row}, 1 finding."),
        _ => format!("{rows} {row}, {findings} findings."),
    }
}

fn put(html: &mut String, text: &str) {
    writeln!(html, "{text}").expect("writing to a string does not fail");
}

fn put_row(html: &mut String, row: &Row) {
    let class = if row.finding.is_some() { " class=\"finding\"" } else { "" };
    let cells: String = row.cells.iter().map(|cell| format!("<td>{}</td>", words(cell))).collect();
    let finding = words(row.finding.as_deref().unwrap_or_default());
    put(html, &format!("<tr{class}>{cells}<td class=\"finding\">{finding}</td></tr>"));
}

/// Longest word that is kept on one line; a longer one may be broken anywhere.
const WORD_CHARS_MAX: usize = 24;

/// Text whose words stay whole. Of a moment the day and the time are words of their own.
fn words(text: &str) -> String {
    let word = |word: &str| {
        let moment = word.split_once('T').filter(|_| word.len() == 20 && word.ends_with('Z'));
        match moment {
            Some((day, time)) => format!("<span>{}</span> <span>{}</span>", escape(day), escape(time)),
            None if word.chars().count() <= WORD_CHARS_MAX => format!("<span>{}</span>", escape(word)),
            None => escape(word),
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Text in which nothing is markup, and nothing turns the direction of writing around.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escaped.push(char::REPLACEMENT_CHARACTER);
            }
            plain if plain.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            plain => escaped.push(plain),
        }
    }
    escaped
}
