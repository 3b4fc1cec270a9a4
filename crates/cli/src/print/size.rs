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
    #[test]
    fn sizes_have_four_digits() {
        let check = |bytes: i64, want: &str| assert_eq!(super::human(bytes), want);
        check(0, "0B");
        check(157, "157B");
        check(1000, "1kB");
        check(3151, "3.151kB");
        check(4832, "4.832kB");
        check(180_900, "180.9kB");
        check(9_674_000, "9.674MB");
        check(75_400_000, "75.4MB");
        check(227_400_000, "227.4MB");
        check(999_999, "1000kB");
        check(1_234_567_890, "1.235GB");
        check(10, "10B");
        check(100, "100B");
    }
}
