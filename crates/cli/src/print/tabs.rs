//! Two ways to line up columns: the elastic tab stops of `describe`, and the padded table of `get`.
//!
//! Both follow Go's `text/tabwriter` as `oc` sets it up (spec §4.1), so that the bytes are the same.

/// Lines up text by elastic tab stops, as `describe` does: minimum width 0, tab width 8, padding 1, filled with
/// tabs. A cell is text ended by a tab; a column is a block of consecutive lines that have a cell there.
pub(crate) fn elastic(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            let run = widths[start..].iter().take_while(|cells| column < cells.len()).count();
            let longest = lines[start..start + run].iter().map(|cells| length(cells[column])).max();
            let width = longest.map_or(0, |longest| (longest + 1).next_multiple_of(TAB));
            for cells in &mut widths[start..start + run] {
                cells[column] = width;
            }
            start += run.max(1);
        }
    }
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for (index, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if index > 0 {
            out.push('\n');
        }
        for (cell, &width) in cells.iter().zip(widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n('\t', (width - length(cell)).div_ceil(TAB)));
        }
        out.push_str(cells.last().expect("splitting gives at least one part"));
    }
    out
}

/// How a table pads its columns with spaces.
#[derive(Clone, Copy)]
pub(crate) struct Padding {
    /// No column is narrower.
    pub(crate) minimum: usize,
    /// Spaces after the longest cell.
    pub(crate) gap: usize,
}

/// `get` and `custom-columns`.
pub(crate) const GET: Padding = Padding { minimum: 6, gap: 3 };
/// `set image-lookup`.
pub(crate) const LOOKUP: Padding = Padding { minimum: 0, gap: 2 };

/// Lays out rows of equally many cells. The last column is not padded, so a row whose last cell is empty ends
/// in the spaces of the one before.
pub(crate) fn table(rows: &[Vec<String>], padding: Padding) -> String {
    Widths::new(padding).table(rows)
}

/// The widths of a table's columns, remembered while more rows come.
pub(crate) struct Widths {
    padding: Padding,
    columns: Vec<usize>,
}

impl Widths {
    pub(crate) fn new(padding: Padding) -> Self {
        Self { padding, columns: Vec::new() }
    }

    /// Lays out more rows. A column gets wider when it has to, and never narrower.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) -> String {
        let Self { padding, columns } = self;
        columns.resize(rows.first().map_or(0, Vec::len).max(columns.len()), padding.minimum);
        for row in rows {
            for (width, cell) in columns.iter_mut().zip(row) {
                *width = (length(cell) + padding.gap).max(*width);
            }
        }
        let mut out = String::new();
        for row in rows {
            for (column, cell) in row.iter().enumerate() {
                out.push_str(cell);
                if column + 1 < row.len() {
                    out.extend(std::iter::repeat_n(' ', columns[column] - length(cell)));
                }
            }
            out.push('\n');
        }
        out
    }
}

/// A cell of a table is one line: what follows is told by three dots.
pub(crate) fn one_line(text: &str) -> String {
    match text.split_once('\n') {
        Some((first, _)) => format!("{first}..."),
        None => text.to_owned(),
    }
}

const TAB: usize = 8;

fn length(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_as_wide_as_its_longest_cell() {
        let check = |text: &str, want: &str| assert_eq!(elastic(text), want);
        check("Name:\tp\nImage Repository:\tr\nTags:\t6", "Name:\t\t\tp\nImage Repository:\tr\nTags:\t\t\t6");
        check("Name:\tp\nDocker Labels:\tx", "Name:\t\tp\nDocker Labels:\tx");
        // An empty cell is padded too, and a second column has tab stops of its own.
        check("Layers:\t1kB\tsha256:a\n\t227.4MB\tsha256:b", "Layers:\t1kB\tsha256:a\n\t227.4MB\tsha256:b");
        check("Image Name:\ta\n\t1kB\tb", "Image Name:\ta\n\t\t1kB\tb");
        // A line without a tab ends the run.
        check(
            "Name:\tlab\nvalue\nImage Repository:\tr\nTags:\t1",
            "Name:\tlab\nvalue\nImage Repository:\tr\nTags:\t\t\t1",
        );
        check("", "");
    }

    #[test]
    fn a_table_pads_all_columns_but_the_last() {
        let rows = |rows: &[&[&str]]| -> Vec<Vec<String>> {
            rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect()
        };
        assert_eq!(table(&rows(&[&["N", "T"], &["lab", "1,2"]]), GET), "N     T\nlab   1,2\n");
        assert_eq!(table(&rows(&[&["NAME", "LOCAL"], &["e", "true"]]), LOOKUP), "NAME  LOCAL\ne     true\n");
        let empty = table(&rows(&[&["NAME", "TAGS", "UPDATED"], &["empty", "", ""]]), GET);
        assert_eq!(empty, "NAME    TAGS   UPDATED\nempty          \n");
    }

    #[test]
    fn a_table_that_goes_on_remembers_its_widths() {
        let rows = |cells: &[&str]| vec![cells.iter().map(ToString::to_string).collect::<Vec<_>>()];
        let mut widths = Widths::new(GET);
        assert_eq!(widths.table(&rows(&["NAME", "TAGS"])), "NAME   TAGS\n");
        assert_eq!(widths.table(&rows(&["longer-name", "v1"])), "longer-name   v1\n");
        assert_eq!(widths.table(&rows(&["a", "v1"])), "a             v1\n");
    }
}
