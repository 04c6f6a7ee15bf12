//! `#[derive(Config)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, ExprUnary, Field, Fields, Ident, Lit, Meta, Type,
    UnOp,
};

pub(crate) fn expand(item: &DeriveInput) -> syn::Result<TokenStream> {
    let settings = &item.ident;
    let Data::Struct(data) = &item.data else {
        return Err(Error::new_spanned(
            settings,
            "settings are a struct, with a named field for each key",
        ));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(
            settings,
            "settings have a named field for each key",
        ));
    };
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &item.generics,
            "settings have no generic parameters",
        ));
    }
    let (keys, mistakes): (Vec<_>, Vec<_>) = fields.named.iter().map(Key::of).partition(Result::is_ok);
    if let Some(mistakes) = mistakes
        .into_iter()
        .filter_map(Result::err)
        .reduce(|mut all, mistake| {
            all.combine(mistake);
            all
        })
    {
        return Err(mistakes);
    }
    let keys: Vec<Key<'_>> = keys.into_iter().filter_map(Result::ok).collect();
    let declarations = keys.iter().map(Key::declaration);
    let readings = keys.iter().map(Key::reading);
    Ok(quote! {
        impl ::mortise_guest::Config for #settings {
            const KEYS: &'static [::mortise_guest::ConfigKey] = &[#(#declarations),*];

            fn load(
                _: &::mortise_guest::ReadCall,
            ) -> ::core::result::Result<Self, ::mortise_guest::Status> {
                ::core::result::Result::Ok(Self { #(#readings),* })
            }
        }
    })
}

/// A field and what it says of its key.
struct Key<'f> {
    field: &'f Ident,
    name: String,
    doc: String,
    /// Without `Option`.
    value: &'f Type,
    default: Option<Expr>,
}

impl<'f> Key<'f> {
    fn of(field: &'f Field) -> syn::Result<Key<'f>> {
        let Some(ident) = &field.ident else {
            return Err(Error::new_spanned(
                field,
                "settings have a named field for each key",
            ));
        };
        let name = ident.to_string().trim_start_matches("r#").to_owned();
        let doc = doc(&field.attrs);
        if doc.is_empty() {
            let message = format!("`{name}` needs a doc comment: it tells the operator what the key is for");
            return Err(Error::new_spanned(ident, message));
        }
        let default = default(&field.attrs)?;
        let (optional, value) = match optional(&field.ty) {
            Some(value) => (true, value),
            None => (false, &field.ty),
        };
        match &default {
            Some(default) if optional => {
                let message = "a key with a default is never `None`: remove the `Option` or the default";
                Err(Error::new_spanned(default, message))
            }
            None if !optional => {
                let value = quote!(#value).to_string();
                let message = format!(
                    "`{name}` has no value when the operator sets none: make it `Option<{value}>` or add \
                     `#[config(default = …)]`"
                );
                Err(Error::new_spanned(ident, message))
            }
            _ => Ok(Key {
                field: ident,
                name,
                doc,
                value,
                default,
            }),
        }
    }

    fn declaration(&self) -> TokenStream {
        let Key { name, doc, value, .. } = self;
        let default = match &self.default {
            Some(default) => {
                let text = default_text(default);
                quote!(::core::option::Option::Some(#text))
            }
            None => quote!(::core::option::Option::None),
        };
        // Spanned so that a type that cannot be a value is pointed at.
        let kind = quote_spanned! { value.span() => <#value as ::mortise_guest::ConfigValue>::KIND };
        quote! {
            ::mortise_guest::ConfigKey { name: #name, kind: #kind, doc: #doc, default: #default }
        }
    }

    fn reading(&self) -> TokenStream {
        let Key {
            field, name, value, ..
        } = self;
        let found = quote_spanned! { value.span() => ::mortise_guest::__private::get::<#value>(#name)? };
        match &self.default {
            None => quote!(#field: #found),
            Some(default) => {
                let default = match default {
                    Expr::Lit(ExprLit {
                        lit: Lit::Str(text), ..
                    }) => {
                        quote!(::mortise_guest::__private::parse::<#value>(#name, #text)?)
                    }
                    default => quote!(#default),
                };
                quote! {
                    #field: match #found {
                        ::core::option::Option::Some(value) => value,
                        ::core::option::Option::None => #default,
                    }
                }
            }
        }
    }
}

/// The first paragraph of the doc comment, on one line.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(line), ..
            }) => Some(line.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    let paragraph: Vec<String> = lines
        .skip_while(String::is_empty)
        .take_while(|line| !line.is_empty())
        .collect();
    paragraph.join(" ")
}

/// The value in `#[config(default = value)]`.
fn default(attributes: &[Attribute]) -> syn::Result<Option<Expr>> {
    let mut default = None;
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("config"))
    {
        attribute.parse_nested_meta(|option| {
            if !option.path.is_ident("default") {
                return Err(option.error("unknown option; the only one is `default = …`"));
            }
            if default.is_some() {
                return Err(option.error("`default` is given twice"));
            }
            default = Some(option.value()?.parse()?);
            Ok(())
        })?;
    }
    Ok(default)
}

/// The default for the operator to read: a literal's value, else the expression.
fn default_text(default: &Expr) -> String {
    match default {
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_),
            expr,
            ..
        }) => format!("-{}", default_text(expr)),
        Expr::Lit(ExprLit {
            lit: Lit::Str(text), ..
        }) => text.value(),
        Expr::Lit(ExprLit {
            lit: Lit::Int(number),
            ..
        }) => number.base10_digits().to_owned(),
        default => quote!(#default).to_string(),
    }
}

/// What an `Option` is of.
fn optional(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path
        .path
        .segments
        .last()
        .filter(|segment| segment.ident == "Option")?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        syn::GenericArgument::Type(value) => Some(value),
        _ => None,
    }
}
