//! Tables of what several rounds gave.

pub(crate) fn header(unit: &str) {
    println!("{unit:38}  {:>9}  {:>9}  {:>9}", "min", "median", "max");
}

/// A line of a table.
pub(crate) fn row(name: &str, mut values: Vec<f64>, goal: &str) {
    values.sort_by(f64::total_cmp);
    let [min, median, max] = [0, values.len() / 2, values.len() - 1].map(|index| values[index]);
    let digits = if max < 100.0 { 2 } else { 0 };
    println!("{name:38}  {min:9.digits$}  {median:9.digits$}  {max:9.digits$}  {goal}");
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
