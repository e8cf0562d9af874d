//! Runs after all others, for it is the last by its name, and prints what they measured.

use rq_tests::requirement::loudly;

use crate::times;

#[test]
fn the_times_are_printed() {
    let table = times::table();
    if !table.is_empty() {
        loudly(&format!("what the tests measured:\n{table}"));
    }
}
