//! Skipping a test for a reason that is printed, so that a run never counts as passed what it did not do.

use std::io::Write as _;

/// Prints `SKIPPED: <test>: <reason>` past the test harness's capture of output. Use [`crate::skip!`].
pub fn report(location: &str, reason: &str) {
    let test = location.strip_suffix("::here").unwrap_or(location);
    let test = test.strip_suffix("::{{closure}}").unwrap_or(test);
    // The capture intercepts the print macros only; a failure to print must not fail the test.
    let _ = writeln!(std::io::stdout().lock(), "SKIPPED: {test}: {reason}");
}

/// The path of a function item, which contains the name of the test that it is defined in.
pub fn location_of<T>(_: &T) -> &'static str {
    std::any::type_name::<T>()
}

/// Leaves the test, printing the reason: `skip!("needs root")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        fn here() {}
        $crate::skip::report($crate::skip::location_of(&here), &format!($($reason)*));
        return;
    }};
}
