//! Sizes for people: four significant digits and a decimal unit (spec §4.2).

/// `7955` reads `7.955kB`. Decimal units; Go's `%.4g`.
pub(crate) fn human(bytes: i64) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    #[expect(clippy::cast_precision_loss, reason = "four digits are printed")]
    let mut size = bytes.max(0) as f64;
    let mut unit = 0;
    while size >= 1000.0 {
        size /= 1000.0;
        unit += 1;
    }
    let decimals = match size {
        ..10.0 => 3,
        ..100.0 => 2,
        _ => 1,
    };
    let digits = format!("{size:.decimals$}");
    format!("{}{}", digits.trim_end_matches('0').trim_end_matches('.'), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use crate::print::rows;

    #[test]
    fn sizes_have_four_digits() {
        let size = |bytes: &str| super::human(bytes.parse().expect("a number of bytes"));
        let checked = rows::check(include_str!("tables/sizes.txt"), size);
        assert!(checked >= 100, "only {checked} rows");
    }
}
