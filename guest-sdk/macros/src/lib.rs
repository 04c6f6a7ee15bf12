//! The macros of [`mortise-guest`](https://docs.rs/mortise-guest), which documents and re-exports them.

mod config;
mod plugin;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a plugin of the implementation of a service.
///
/// It stands on `impl Service for Type`, where `Service` is a trait that `mortise-guest-codegen` made of a
/// proto. A crate has one plugin; it may serve several services.
///
/// Options, all of them optional:
/// - `config = Settings`: a type that derives [`Config`](derive@Config);
/// - `with(pb::Reports, …)`: further services that the same type implements, with [`handlers`](macro@handlers);
/// - `grants(upstream("stock", "to reserve items"), …)`: what the plugin needs outside its sandbox, by the
///   operator's name for it, and why;
/// - `name = "…"`, `version = "…"`: how the plugin describes itself; otherwise the crate's name and version.
///
/// ```ignore (needs a plugin around it)
/// #[mortise_guest::plugin(config = Settings, with(pb::Reports))]
/// impl pb::OrderService for Orders {
///     fn create_order(call: &mut Call, order: pb::Order) -> Result<pb::OrderResponse, Status> {
///         domain::place(call, order)
///     }
/// }
///
/// #[mortise_guest::handlers]
/// impl pb::Reports for Orders {}
/// ```
#[proc_macro_attribute]
pub fn plugin(options: TokenStream, item: TokenStream) -> TokenStream {
    plugin::expand(options.into(), item.into()).into()
}

/// Stands on the implementation of a further service of a plugin, which [`plugin`](macro@plugin) names under
/// `with`. Signatures are checked, handlers are on the stack of a trap, and tests that call one directly can
/// run it in the component. The service is served without it, too.
#[proc_macro_attribute]
pub fn handlers(options: TokenStream, item: TokenStream) -> TokenStream {
    plugin::expand_handlers(options.into(), item.into()).into()
}

/// Reads the operator's values for the plugin into a struct, and declares them in the plugin's description.
///
/// Each field is a key of `[plugins.NAME.config]`. Its doc comment, which it must have, is shown to the
/// operator. A field is an `Option`, or has a default: `#[config(default = 500)]`. A default of a type that
/// is read from text is written as text: `#[config(default = "100/1m")] rate: Rate`.
///
/// ```ignore (needs mortise-guest, which depends on this crate)
/// #[derive(mortise_guest::Config)]
/// struct Settings {
///     /// Region reported in the `region` metadata.
///     region: Option<String>,
///     /// Calls with less time left than this, in milliseconds, are refused.
///     #[config(default = 500)]
///     min_remaining_ms: u64,
/// }
/// ```
#[proc_macro_derive(Config, attributes(config))]
pub fn config(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    config::expand(&item)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
