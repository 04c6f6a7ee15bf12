fn main() -> Result<(), mortise_guest_codegen::Error> {
    mortise_guest_codegen::Builder::new()
        .include("proto")
        .include("../../proto")
        .proto("tally/v1/tally.proto")
        .build()
}
