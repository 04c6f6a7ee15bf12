fn main() -> Result<(), mortise_guest_codegen::Error> {
    mortise_guest_codegen::Builder::new()
        .include("proto")
        .proto("caller/v1/caller.proto")
        .client("caller/v1/backend.proto")
        .build()
}
