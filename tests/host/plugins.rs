//! The plugins' own tests, which run their handlers natively.

use crate::support::plugins::cargo;

#[test]
fn the_plugins_pass_their_own_tests() {
    let output = cargo()
        .args(["test", "--workspace"])
        .output()
        .expect("cargo starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("test result: ok"), "{stdout}{stderr}");
}
