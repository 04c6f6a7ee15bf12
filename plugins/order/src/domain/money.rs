//! Currencies and totals.

use crate::pb::OrderItem;

/// The active ISO 4217 codes of national and supranational currencies, in groups of three letters, sorted.
/// Fund, precious metal and testing codes are left out: nobody pays an order with them.
const CODES: &[u8] = b"\
    AEDAFNALLAMDAOAARSAUDAWGAZNBAMBBDBDTBHDBIFBMDBNDBOBBRLBSDBTNBWPBYNBZDCADCDFCHFCLPCNYCOPCRCCUPCVECZK\
    DJFDKKDOPDZDEGPERNETBEURFJDFKPGBPGELGHSGIPGMDGNFGTQGYDHKDHNLHTGHUFIDRILSINRIQDIRRISKJMDJODJPYKESKGS\
    KHRKMFKPWKRWKWDKYDKZTLAKLBPLKRLRDLSLLYDMADMDLMGAMKDMMKMNTMOPMRUMURMVRMWKMXNMYRMZNNADNGNNIONOKNPRNZD\
    OMRPABPENPGKPHPPKRPLNPYGQARRONRSDRUBRWFSARSBDSCRSDGSEKSGDSHPSLESOSSRDSSPSTNSVCSYPSZLTHBTJSTMTTNDTOP\
    TRYTTDTWDTZSUAHUGXUSDUYUUZSVEDVESVNDVUVWSTXAFXCDXCGXOFXPFYERZARZMWZWG";

/// Whether `code` is the upper-case ISO 4217 code of a currency.
pub fn is_currency(code: &str) -> bool {
    let code = code.as_bytes();
    code.len() == 3 && CODES.chunks_exact(3).any(|known| known == code)
}

/// The sum of `quantity * price`, or `None` if it exceeds [`i64::MAX`].
///
/// Quantities and prices must not be negative.
pub fn total(items: &[OrderItem]) -> Option<i64> {
    items.iter().try_fold(0_i64, |sum, item| {
        let line = item.price.checked_mul(i64::from(item.quantity))?;
        sum.checked_add(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(quantity: i32, price: i64) -> OrderItem {
        OrderItem {
            sku: "sku".to_owned(),
            quantity,
            price,
        }
    }

    #[test]
    fn codes_are_whole_sorted_and_unique() {
        assert_eq!(CODES.len() % 3, 0);
        let codes: Vec<_> = CODES.chunks_exact(3).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        assert!(CODES.iter().all(u8::is_ascii_uppercase));
    }

    #[test]
    fn known_codes_are_currencies_and_nothing_else_is() {
        for code in ["EUR", "USD", "JPY", "AED", "ZWG"] {
            assert!(is_currency(code), "{code}");
        }
        // `DAF` stands in the table, but across two codes.
        for code in ["", "eur", "EU", "EURO", "DAF", "XXX", "12€", "€"] {
            assert!(!is_currency(code), "{code}");
        }
    }

    #[test]
    fn totals_add_lines_and_refuse_to_overflow() {
        assert_eq!(total(&[item(2, 350), item(1, 99)]), Some(799));
        assert_eq!(total(&[item(1, i64::MAX)]), Some(i64::MAX));
        assert_eq!(total(&[item(2, i64::MAX / 2 + 1)]), None);
        assert_eq!(total(&[item(1, i64::MAX), item(1, 1)]), None);
        assert_eq!(total(&[item(i32::MAX, i64::MAX)]), None);
    }
}
