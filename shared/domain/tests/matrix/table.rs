//! A table in aligned columns.

use std::fmt;

pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<'a>(title: &str, corner: &'a str, columns: impl IntoIterator<Item = &'a str>) -> Self {
        let head = [corner].into_iter().chain(columns).map(str::to_owned).collect();
        Self { title: title.to_owned(), rows: vec![head] }
    }

    pub fn row(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.rows.push([name.to_owned()].into_iter().chain(cells).collect());
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.rows.first().map_or(0, Vec::len)).map(|n| self.width(n)).collect();
        writeln!(f, "{}\n", self.title)?;
        for (n, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "{}", cells.join(" | ").trim_end())?;
            if n == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(f, "{}", rule.join("-|-"))?;
            }
        }
        Ok(())
    }
}
