fn main() -> Result<(), mortise_guest_codegen::Error> {
    mortise_guest_codegen::Builder::new()
        .include("proto")
        .proto("greeter/v1/greeter.proto")
        .build()
}
