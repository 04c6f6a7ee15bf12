//! The handlers against the SDK's fake host: every status, every rule, and what is left behind.

mod calls;
mod changes;
mod lists;
mod payment;
mod placing;
mod shop;
