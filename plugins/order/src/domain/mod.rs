//! What an order is and what may be done to it. Pure: no call, no store, no clock.

mod hex;
pub mod id;
pub mod lifecycle;
pub mod money;
pub mod page;
pub mod place;
pub mod violations;
