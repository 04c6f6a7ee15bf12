//! The README shows `plugins/minimal`; this keeps it true.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_readme_shows_the_minimal_plugin_as_it_is() {
    let sources = ["proto/greeter/v1/greeter.proto", "build.rs", "src/lib.rs"]
        .map(|file| read(&format!("../plugins/minimal/{file}")))
        .concat();
    let readme = read("README.md");
    let blocks = readme.split("```").skip(1).step_by(2);
    let shown = blocks.filter_map(|block| block.strip_prefix("proto\n").or(block.strip_prefix("rust\n")));
    let mut count = 0;
    for block in shown {
        // A first line may name the file.
        let code = block
            .split_once('\n')
            .filter(|(first, _)| first.starts_with("//"))
            .map_or(block, |(_, rest)| rest);
        assert!(sources.contains(code), "not in plugins/minimal:\n{code}");
        count += 1;
    }
    assert_eq!(count, 3);
}
