//! Generates code from protos on disk and looks at what came out.

use std::fs;
use std::path::Path;

use mortise_guest_codegen::{Builder, Error};
use prost::Message;
use prost_types::FileDescriptorSet;
use tempfile::TempDir;

/// A directory with protos, and one for the code.
struct Project {
    protos: TempDir,
    out: TempDir,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Project {
        let project = Project {
            protos: TempDir::new().expect("a temporary directory"),
            out: TempDir::new().expect("a temporary directory"),
        };
        for (name, text) in files {
            let path = project.protos.path().join(name);
            fs::create_dir_all(path.parent().expect("in the directory")).expect("the directory can be made");
            fs::write(path, text).expect("the proto can be written");
        }
        project
    }

    fn builder(&self) -> Builder {
        Builder::new()
            .include(self.protos.path())
            .out_dir(self.out.path())
    }

    fn build(&self, protos: &[&str]) -> Result<(), Error> {
        protos
            .iter()
            .fold(self.builder(), |builder, proto| builder.proto(*proto))
            .build()
    }

    fn out(&self) -> &Path {
        self.out.path()
    }

    /// The code of a package, its white space reduced to single blanks: whether it is formatted is up to
    /// prost-build's features.
    fn code(&self, package: &str) -> String {
        let code = fs::read_to_string(self.out().join(format!("{package}.rs"))).expect("the code is there");
        code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn descriptors(&self) -> FileDescriptorSet {
        let bytes = fs::read(self.out().join("mortise_descriptors.bin")).expect("the descriptors are there");
        FileDescriptorSet::decode(bytes.as_slice()).expect("a descriptor set")
    }
}

const SHOP: &str = r#"
syntax = "proto3";
package shop.v1;
import "common/v1/money.proto";
import "google/protobuf/timestamp.proto";

// Sells things.
service Shop {
  // Sells one thing.
  rpc Sell(SellRequest) returns (Sale);
  rpc GetSale(GetSaleRequest) returns (Sale) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Return(Sale) returns (Sale) { option idempotency_level = IDEMPOTENT; }
}

message SellRequest { string thing = 1; map<string, string> labels = 2; }
message GetSaleRequest { string id = 1; }
message Sale { common.v1.Money price = 1; google.protobuf.Timestamp sold_at = 2; }
"#;

const MONEY: &str = r#"
syntax = "proto3";
package common.v1;
message Money { int64 minor_units = 1; }
"#;

fn shop() -> Project {
    let project = Project::new(&[("shop/v1/shop.proto", SHOP), ("common/v1/money.proto", MONEY)]);
    project
        .build(&["shop/v1/shop.proto"])
        .expect("the protos are valid");
    project
}

#[test]
fn a_service_becomes_a_trait() {
    let code = shop().code("shop.v1");
    for part in [
        "/// Sells things.",
        "pub trait Shop: Sized {",
        "/// Sells one thing.",
        "fn sell( call: &mut ::mortise_guest::Call, request: SellRequest, )",
        "-> ::core::result::Result<Sale, ::mortise_guest::Status>",
        "\"/shop.v1.Shop/Sell is not implemented\"",
        "handler: |call, request|",
        "read_only: true,",
    ] {
        assert!(code.contains(part), "{part} is missing in {code}");
    }
}

#[test]
fn only_methods_without_side_effects_get_a_read_call() {
    let code = shop().code("shop.v1");
    assert!(
        code.contains("fn get_sale( call: &mut ::mortise_guest::ReadCall,"),
        "{code}"
    );
    assert!(
        code.contains("fn r#return( call: &mut ::mortise_guest::Call,"),
        "{code}"
    );
    assert_eq!(code.matches("unary_read_only(").count(), 1);
    assert_eq!(code.matches("plugin::unary(").count(), 2);
}

#[test]
fn messages_need_no_dependency_but_the_sdk() {
    let code = shop().code("shop.v1");
    assert!(code.contains("::mortise_guest::prost::Message"), "{code}");
    assert!(code.contains("::mortise_guest::prost_types::Timestamp"), "{code}");
    assert!(
        !code.contains(" ::prost::") && !code.contains("HashMap"),
        "{code}"
    );
}

#[test]
fn descriptors_hold_all_files_and_no_comments() {
    let set = shop().descriptors();
    let names: Vec<&str> = set.file.iter().map(|file| file.name()).collect();
    assert!(names.contains(&"shop/v1/shop.proto"), "{names:?}");
    assert!(names.contains(&"common/v1/money.proto"), "{names:?}");
    assert!(names.contains(&"google/protobuf/timestamp.proto"), "{names:?}");
    assert!(set.file.iter().all(|file| file.source_code_info.is_none()));
    // Every file comes after those it imports.
    for (position, file) in set.file.iter().enumerate() {
        for import in &file.dependency {
            assert!(
                names[..position].contains(&import.as_str()),
                "{import} after {}",
                file.name()
            );
        }
    }
}

#[test]
fn packages_can_be_included_together() {
    let project = shop();
    let modules = fs::read_to_string(project.out().join("mortise_protos.rs")).expect("the modules");
    for part in [
        "pub mod shop {",
        "pub mod common {",
        "pub mod v1 {",
        "shop.v1.rs",
        "common.v1.rs",
    ] {
        assert!(modules.contains(part), "{part} is missing in {modules}");
    }
}

#[test]
fn a_proto_without_a_package_has_plain_paths() {
    let proto = "syntax = \"proto3\"; message M {} service S { rpc Do(M) returns (M); }";
    let project = Project::new(&[("plain.proto", proto)]);
    project.build(&["plain.proto"]).expect("the proto is valid");
    assert!(project.code("_").contains("path: \"/S/Do\","));
}

#[test]
fn a_service_that_is_called_becomes_a_client() {
    const STOCK: &str = r#"
syntax = "proto3";
package stock.v1;
import "common/v1/money.proto";

// Keeps things.
service Stock {
  // Sets things aside.
  rpc Reserve(ReserveRequest) returns (common.v1.Money);
  rpc Watch(ReserveRequest) returns (stream common.v1.Money);
}

message ReserveRequest { string thing = 1; }
"#;
    let project = Project::new(&[
        ("shop/v1/shop.proto", SHOP),
        ("common/v1/money.proto", MONEY),
        ("stock/v1/stock.proto", STOCK),
    ]);
    let builder = project.builder().proto("shop/v1/shop.proto");
    builder
        .client("stock/v1/stock.proto")
        .build()
        .expect("the protos are valid");
    let code = project.code("stock.v1");
    for part in [
        "/// Keeps things.",
        "pub struct StockClient<'c> {",
        "/// Sets things aside.",
        "pub fn reserve( &self, request: &ReserveRequest, )",
        "::mortise_guest::upstream::Reply<super::super::common::v1::Money>",
        "self.upstream.unary(\"/stock.v1.Stock/Reserve\", request)",
    ] {
        assert!(code.contains(part), "{part} is missing in {code}");
    }
    assert!(!code.contains("watch") && !code.contains("trait Stock"), "{code}");
    assert!(project.code("shop.v1").contains("pub trait Shop: Sized {"));
    // The plugin does not serve it, so reflection has no business with it.
    let set = project.descriptors();
    let names: Vec<&str> = set.file.iter().map(|file| file.name()).collect();
    assert!(!names.contains(&"stock/v1/stock.proto"), "{names:?}");
    assert!(names.contains(&"common/v1/money.proto"), "{names:?}");
}

/// What `build.rs` shows when it returns the error.
#[track_caller]
fn shown(built: Result<(), Error>) -> String {
    format!("{:?}", built.expect_err("a mistake"))
}

#[test]
fn streaming_methods_are_refused_by_name() {
    for streaming in ["stream M) returns (M", "M) returns (stream M"] {
        let proto =
            format!("syntax = \"proto3\"; package p; message M {{}} service S {{ rpc Watch({streaming}); }}");
        let project = Project::new(&[("p.proto", &proto)]);
        let error = shown(project.build(&["p.proto"]));
        assert!(
            error.starts_with("/p.S/Watch in p.proto is a streaming method"),
            "{error}"
        );
        assert!(error.contains("only unary"), "{error}");
    }
}

#[test]
fn mistakes_in_protos_are_shown_with_their_place() {
    let proto = "syntax = \"proto3\";\nmessage M {\n  strin name = 1;\n}\n";
    let project = Project::new(&[
        ("p.proto", proto),
        ("q.proto", "syntax = \"proto3\";\nmessage {}\n"),
    ]);
    let error = shown(project.build(&["p.proto"]));
    assert!(
        error.contains("p.proto:3:3") && error.contains("strin"),
        "{error}"
    );
    let error = shown(project.build(&["q.proto"]));
    assert!(error.contains("q.proto:2:9"), "{error}");
}

#[test]
fn missing_files_are_named() {
    let project = Project::new(&[("p.proto", "syntax = \"proto3\";\nimport \"gone.proto\";\n")]);
    assert!(shown(project.build(&["absent.proto"])).contains("absent.proto"));
    assert!(shown(project.build(&["p.proto"])).contains("gone.proto"));
    let error = shown(
        Builder::new()
            .include("no/such/dir")
            .proto("p.proto")
            .out_dir(project.out())
            .build(),
    );
    assert!(error.contains("`no/such/dir` does not exist"), "{error}");
    assert!(shown(project.build(&[])).contains("Builder::proto"));
}

#[test]
fn memory_that_cannot_be_is_refused() {
    let project = Project::new(&[("p.proto", "syntax = \"proto3\"; message M {}")]);
    let builder = || project.builder().proto("p.proto");
    assert!(
        builder()
            .stack_size(64 * 1024)
            .initial_memory(192 * 1024)
            .build()
            .is_ok()
    );
    assert!(shown(builder().stack_size(0).build()).contains("multiple of 16"));
    assert!(shown(builder().stack_size(1000).build()).contains("1000 bytes"));
    assert!(shown(builder().initial_memory(100_000).build()).contains("multiple of 65536"));
    assert!(shown(builder().stack_size(131_072).build()).contains("hold the stack"));
}

const INTERNAL: &str = r#"
syntax = "proto3";
package shop.v1;
import "mortise/v1/options.proto";

service Shop {
  rpc Sell(SellRequest) returns (SellRequest);
  rpc Expire(SellRequest) returns (SellRequest) { option (mortise.v1.internal) = true; }
  rpc Loop(SellRequest) returns (SellRequest) { option (mortise.v1.internal) = false; }
}

message SellRequest { string thing = 1; }
"#;

#[test]
fn a_method_can_be_internal_and_the_option_leaves_no_trace() {
    let project = Project::new(&[("shop/v1/shop.proto", INTERNAL)]);
    project
        .build(&["shop/v1/shop.proto"])
        .expect("the file needs no copy");
    let code = project.code("shop.v1");
    for (method, internal) in [("Sell", false), ("Expire", true), ("Loop", false)] {
        let entry = format!("path: \"/shop.v1.Shop/{method}\", read_only: false, internal: {internal},");
        assert!(code.contains(&entry), "no {entry} in {code}");
    }
    let files = project.descriptors().file;
    let names: Vec<_> = files.iter().map(|file| file.name()).collect();
    assert_eq!(names, ["shop/v1/shop.proto"]);
    assert!(files[0].dependency.is_empty());
}

#[test]
fn imports_keep_their_meaning_without_the_options() {
    let more = "syntax = \"proto3\";\npackage shop.v1;\nimport \"mortise/v1/options.proto\";\n\
                import public \"common/v1/money.proto\";\nimport \"google/protobuf/descriptor.proto\";\n\
                extend google.protobuf.MethodOptions { optional string own = 50001; }\n\
                message Price { common.v1.Money price = 1; }\n";
    let project = Project::new(&[("shop/v1/price.proto", more), ("common/v1/money.proto", MONEY)]);
    project
        .build(&["shop/v1/price.proto"])
        .expect("the protos are valid");
    let files = project.descriptors().file;
    let price = files
        .iter()
        .find(|file| file.name() == "shop/v1/price.proto")
        .expect("there");
    assert_eq!(
        price.dependency,
        ["common/v1/money.proto", "google/protobuf/descriptor.proto"]
    );
    assert_eq!(price.public_dependency, [0]);
    assert!(
        files
            .iter()
            .any(|file| file.name() == "google/protobuf/descriptor.proto")
    );
}

#[test]
fn each_method_has_a_constant_to_schedule_it_by() {
    let code = shop().code("shop.v1");
    for part in [
        "pub struct ShopMethod;",
        "pub const GET_SALE: ::mortise_guest::Method<GetSaleRequest> = \
         ::mortise_guest::Method::new(\"/shop.v1.Shop/GetSale\");",
    ] {
        assert!(code.contains(part), "no {part} in {code}");
    }
}
