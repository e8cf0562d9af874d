//! A message costs no memory to look at.

use rq_filter::{Expression, Properties};

struct Order;

impl Properties for Order {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "TAGS" => Some("order"),
            "amount" => Some("149.90"),
            "region" => Some("eu-west-1"),
            "urgent" => Some("true"),
            _ => None,
        }
    }
}

#[test]
fn evaluation_allocates_nothing() {
    let expression = Expression::parse(
        "TAGS = 'order' AND (amount BETWEEN 100 AND 1e3 OR amount IN (1, 2)) AND urgent = TRUE AND NOT coupon = 'x'
         OR region NOT IN ('us', 'uk') AND region LIKE '%-w_st-%' AND region CONTAINS 'eu' AND amount > 99.5
            AND (coupon IS NULL) = urgent AND region STARTSWITH 'eu' AND region ENDSWITH '-1'",
    )
    .unwrap();
    let allocated = allocation_counter::measure(|| assert!(expression.matches(&Order)));
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}
