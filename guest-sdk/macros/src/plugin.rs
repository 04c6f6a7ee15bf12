//! `#[plugin]`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, FnArg, Ident, ImplItem, Item, ItemImpl, LitStr, Pat, Path, Signature, Token, Type};

const PLACE: &str = "#[plugin] belongs on the implementation of a service: \
                     `#[mortise_guest::plugin] impl pb::YourService for YourType { … }`";
const OPTIONS: &str = "the options are `config = Settings`, `with(pb::OtherService)`, \
                       `grants(upstream(\"target\", \"reason\"))`, `name = \"…\"`, `version = \"…\"`";
const GRANT: &str = "a grant is written `upstream(\"target\", \"reason\")`: the operator's name for the target, \
                     and why the plugin needs it";
const SIGNATURE: &str = "fn method(call: &mut Call, request: Request) -> Result<Response, Status>";

/// Writes the item as it is, what makes a plugin of it, and what is wrong with it. The item stays even with
/// mistakes, so that the compiler and editors go on understanding the rest of it.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    expand_with(
        item,
        |service| Ok(service.plugin(Options::parse.parse2(options)?)),
    )
}

/// The same for a further service of what is a plugin already.
pub(crate) fn expand_handlers(options: TokenStream, item: TokenStream) -> TokenStream {
    expand_with(item, |_| match options.is_empty() {
        true => Ok(TokenStream::new()),
        false => Err(Error::new_spanned(options, "`#[handlers]` has no options")),
    })
}

fn expand_with(
    item: TokenStream,
    generate: impl FnOnce(Service<'_>) -> syn::Result<TokenStream>,
) -> TokenStream {
    match implementation(item.clone()) {
        Ok(mut implementation) => {
            keep_frames(&mut implementation);
            run_in_component(&mut implementation);
            let generated = Service::of(&implementation).and_then(generate);
            let generated = generated.unwrap_or_else(Error::into_compile_error);
            let mistakes = handlers(&implementation)
                .filter_map(mistake)
                .map(Error::into_compile_error);
            quote! { #implementation #generated #(#mistakes)* }
        }
        Err(error) => {
            let error = error.into_compile_error();
            quote! { #item #error }
        }
    }
}

/// A trap's stack names functions and knows nothing of inlined ones: handlers should be on it.
fn keep_frames(implementation: &mut ItemImpl) {
    for item in &mut implementation.items {
        if let ImplItem::Fn(handler) = item
            && !handler
                .attrs
                .iter()
                .any(|attribute| attribute.path().is_ident("inline"))
        {
            handler.attrs.push(syn::parse_quote!(#[inline(never)]));
        }
    }
}

/// Natively, where tests run, a handler first asks whether it is to be run in the plugin's component instead.
fn run_in_component(implementation: &mut ItemImpl) {
    let Some((_, service, _)) = implementation.trait_.clone() else {
        return;
    };
    for item in &mut implementation.items {
        let ImplItem::Fn(handler) = item else { continue };
        if mistake(&handler.sig).is_some() {
            continue;
        }
        let Some(FnArg::Typed(argument)) = handler.sig.inputs.last_mut() else {
            continue;
        };
        let request = match &*argument.pat {
            Pat::Ident(plain) => plain.ident.clone(),
            _ => {
                // It is taken apart afterwards.
                let whole = Ident::new("__request", Span::mixed_site());
                let pattern = std::mem::replace(&mut *argument.pat, syn::parse_quote!(#whole));
                let take_apart = syn::parse_quote!(let #pattern = #whole;);
                handler.block.stmts.insert(0, take_apart);
                whole
            }
        };
        let name = handler.sig.ident.unraw().to_string();
        let ask = syn::parse_quote! {
            #[cfg(not(target_family = "wasm"))]
            {
                let answer = ::mortise_guest::__private::answer::<Self, _, _>(
                    <Self as #service>::SERVICE,
                    #name,
                    &#request,
                );
                if let ::core::option::Option::Some(answer) = answer {
                    return answer;
                }
            }
        };
        handler.block.stmts.insert(0, ask);
    }
}

fn implementation(item: TokenStream) -> syn::Result<ItemImpl> {
    match syn::parse2(item)? {
        Item::Impl(implementation) => Ok(implementation),
        Item::Struct(item) => Err(Error::new_spanned(item.struct_token, PLACE)),
        Item::Fn(item) => Err(Error::new_spanned(item.sig.fn_token, PLACE)),
        Item::Trait(item) => Err(Error::new_spanned(item.trait_token, PLACE)),
        Item::Mod(item) => Err(Error::new_spanned(item.mod_token, PLACE)),
        item => Err(Error::new_spanned(item, PLACE)),
    }
}

/// `impl SERVICE for TYPE`.
struct Service<'i> {
    service: &'i Path,
    implementor: &'i Type,
}

impl<'i> Service<'i> {
    fn of(implementation: &'i ItemImpl) -> syn::Result<Service<'i>> {
        let Some((_, service, _)) = &implementation.trait_ else {
            let message = format!("this `impl` is of no service; {PLACE}");
            return Err(Error::new_spanned(&implementation.self_ty, message));
        };
        if !implementation.generics.params.is_empty() {
            let message = "a plugin is one concrete type: remove the generic parameters";
            return Err(Error::new_spanned(&implementation.generics, message));
        }
        Ok(Service {
            service,
            implementor: &implementation.self_ty,
        })
    }

    fn plugin(&self, options: Options) -> TokenStream {
        let Service { service, implementor } = self;
        let services = std::iter::once(*service).chain(&options.with).map(|service| {
            // Spanned so that a trait that is no service, or not implemented, is pointed at.
            quote_spanned! { service.span() => <Self as #service>::SERVICE }
        });
        let name = options
            .name
            .map_or_else(|| quote!(env!("CARGO_PKG_NAME")), |name| quote!(#name));
        let version = options
            .version
            .map_or_else(|| quote!(env!("CARGO_PKG_VERSION")), |version| quote!(#version));
        let config = options
            .config
            .map_or_else(|| quote!(()), |config| quote!(#config));
        let grants = options.grants.iter().map(|Grant { target, reason }| {
            quote! {
                ::mortise_guest::plugin::Grant {
                    capability: "upstream",
                    target: #target,
                    reason: #reason,
                }
            }
        });
        quote! {
            impl ::mortise_guest::Plugin for #implementor {
                const NAME: &'static str = #name;
                const VERSION: &'static str = #version;
                const SERVICES: &'static [::mortise_guest::plugin::Service] = &[#(#services),*];
                const CONFIG: &'static [::mortise_guest::ConfigKey] =
                    <#config as ::mortise_guest::Config>::KEYS;
                const GRANTS: &'static [::mortise_guest::plugin::Grant] = &[#(#grants),*];
            }

            #[cfg(target_family = "wasm")]
            const _: () = {
                type Exported = ::mortise_guest::__private::Exported<#implementor>;
                ::mortise_guest::__private::bindings::export_plugin!(
                    Exported with_types_in ::mortise_guest::__private::bindings
                );
            };
        }
    }
}

fn handlers(implementation: &ItemImpl) -> impl Iterator<Item = &Signature> {
    implementation.items.iter().filter_map(|item| match item {
        ImplItem::Fn(function) => Some(&function.sig),
        _ => None,
    })
}

/// What is wrong with a handler's signature, as far as it shows without types; the compiler tells the rest.
fn mistake(handler: &Signature) -> Option<Error> {
    if let Some(receiver) = handler.receiver() {
        let message = format!(
            "a handler has no `self`, because no instance outlives a call: keep state in `call.table(…)` \
             and write `{SIGNATURE}`"
        );
        return Some(Error::new_spanned(receiver, message));
    }
    if let Some(asyncness) = &handler.asyncness {
        let message =
            format!("a handler is not `async`: calls to the host simply return. Write `{SIGNATURE}`");
        return Some(Error::new_spanned(asyncness, message));
    }
    if handler.inputs.len() != 2 {
        let message = format!("a handler takes the call and the request: `{SIGNATURE}`");
        return Some(Error::new_spanned(&handler.ident, message));
    }
    match handler.inputs.first() {
        Some(FnArg::Typed(call)) if !is_mutable_reference(&call.ty) => {
            let message = format!("the call comes as `&mut Call`, or `&mut ReadCall`: `{SIGNATURE}`");
            Some(Error::new_spanned(&call.ty, message))
        }
        _ => None,
    }
}

fn is_mutable_reference(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if reference.mutability.is_some())
}

#[derive(Default)]
struct Options {
    config: Option<Path>,
    name: Option<LitStr>,
    /// Any constant text, because a version often comes from the build's environment.
    version: Option<Expr>,
    with: Vec<Path>,
    grants: Vec<Grant>,
}

/// `upstream("target", "reason")`
struct Grant {
    target: LitStr,
    reason: LitStr,
}

impl Parse for Grant {
    fn parse(input: ParseStream<'_>) -> syn::Result<Grant> {
        let mistake = |_| Error::new(input.span(), GRANT);
        let capability: Ident = input.parse().map_err(mistake)?;
        if capability != "upstream" {
            return Err(Error::new(capability.span(), GRANT));
        }
        let content;
        syn::parenthesized!(content in input);
        let mistake = |_| Error::new(capability.span(), GRANT);
        let target = content.parse().map_err(mistake)?;
        content.parse::<Token![,]>().map_err(mistake)?;
        let reason = content.parse().map_err(mistake)?;
        content.parse::<Option<Token![,]>>()?;
        if !content.is_empty() {
            return Err(Error::new(content.span(), GRANT));
        }
        Ok(Grant { target, reason })
    }
}

impl Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Options> {
        let mut options = Options::default();
        while !input.is_empty() {
            let option: Ident = input.parse()?;
            match option.to_string().as_str() {
                "config" => set(&mut options.config, &option, input)?,
                "name" => set(&mut options.name, &option, input)?,
                "version" => set(&mut options.version, &option, input)?,
                "with" => {
                    let services;
                    syn::parenthesized!(services in input);
                    options
                        .with
                        .extend(Punctuated::<Path, Token![,]>::parse_terminated(&services)?);
                }
                "grants" => {
                    let grants;
                    syn::parenthesized!(grants in input);
                    options
                        .grants
                        .extend(Punctuated::<Grant, Token![,]>::parse_terminated(&grants)?);
                }
                _ => {
                    return Err(Error::new(
                        option.span(),
                        format!("unknown option `{option}`; {OPTIONS}"),
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

fn set<T: Parse>(value: &mut Option<T>, option: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
    if value.is_some() {
        return Err(Error::new(option.span(), format!("`{option}` is given twice")));
    }
    input.parse::<Token![=]>()?;
    *value = Some(input.parse()?);
    Ok(())
}
