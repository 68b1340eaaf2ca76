//! Text in columns. Knows nothing of what stands in them, and nothing of terminals.

use std::fmt;

/// To which side of its column a text leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading, each column as wide as its widest text. Its `Display` has a line for each row and no newline
/// at the end.
#[derive(Clone, Debug)]
pub struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no row yet.
    #[must_use]
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let (heading, aligns) = columns.into_iter().map(|(name, align)| (name.to_owned(), align)).unzip();
        Table { aligns, rows: vec![heading] }
    }

    /// Adds a row. A table has as many texts in a row as it has columns: anything else is a mistake in this program.
    pub fn row(&mut self, texts: impl IntoIterator<Item = String>) {
        let row: Vec<String> = texts.into_iter().collect();
        assert_eq!(row.len(), self.aligns.len(), "a row has a text for every column");
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for ((text, align), width) in row.iter().zip(&self.aligns).zip(&widths) {
                match align {
                    Align::Left => line += &format!("{text:<width$}  "),
                    Align::Right => line += &format!("{text:>width$}  "),
                }
            }
            write!(f, "{}{}", if index == 0 { "" } else { "\n" }, line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text_and_lean_to_their_side() {
        let mut table = Table::new([("peer", Align::Left), ("delay", Align::Right), ("state", Align::Left)]);
        table.row(["köln:8080".into(), "9 us".into(), "used".into()]);
        table.row(["b".into(), "123.45 us".into(), String::new()]);
        assert_eq!(table.to_string(), "peer           delay  state\nköln:8080       9 us  used\nb          123.45 us");
    }
}
