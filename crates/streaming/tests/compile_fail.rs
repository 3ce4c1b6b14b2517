//! What the compiler says of a wrong program: pinned, because it is the first thing a user reads.

#[test]
fn a_wrong_program_is_told_what_to_do_by_the_compiler() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
