//! The user and order that an answer is about, for the audit record of the reading.

use crate::platform::ids::is_id;

/// The order and the user that an answer is about, where it is about one. Goes with the answer as an extension; whoever
/// records the reading takes it from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    order_id: Option<String>,
    user_id: Option<String>,
}

impl About {
    /// This order, or what refers to it, and the user whose it is. What is no id of ours says nothing: it may be anything that
    /// somebody asked for.
    #[must_use]
    pub fn new(order_id: Option<&str>, user_id: Option<&str>) -> Self {
        let ours = |prefix: &str, id: Option<&str>| id.filter(|id| is_id(prefix, id)).map(str::to_owned);
        // Later bookings for an order refer to it as `ord_...#2`.
        let order_id = order_id.and_then(|id| id.split('#').next());
        Self { order_id: ours("ord", order_id), user_id: ours("usr", user_id) }
    }

    /// The value that all of these share.
    #[must_use]
    pub fn shared<'a>(all: impl IntoIterator<Item = (Option<&'a str>, Option<&'a str>)>) -> Self {
        let mut all = all.into_iter();
        let Some((mut order, mut user)) = all.next() else { return Self::default() };
        for (other_order, other_user) in all {
            order = order.filter(|order| Some(*order) == other_order);
            user = user.filter(|user| Some(*user) == other_user);
        }
        Self::new(order, user)
    }

    /// The same, completed by `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { order_id: self.order_id.or(other.order_id), user_id: self.user_id.or(other.user_id) }
    }

    /// `ord_...`
    #[must_use]
    pub fn order_id(&self) -> Option<&str> {
        self.order_id.as_deref()
    }

    /// `usr_...`
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.user_id.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_have_in_common_is_named_and_nothing_that_is_no_id() {
        let (order, other) = (format!("ord_{}", "1".repeat(32)), format!("ord_{}", "2".repeat(32)));
        let user = format!("usr_{}", "3".repeat(32));
        let (order, other, user) = (Some(&*order), Some(&*other), Some(&*user));
        assert_eq!(About::shared([(order, user), (order, user)]), About::new(order, user));
        assert_eq!(About::shared([(order, user), (other, user)]), About::new(None, user));
        assert_eq!(About::shared([(order, user), (None, user), (order, None)]), About::default());
        assert_eq!(About::shared([]).or(About::new(order, None)), About::new(order, None));
        let later = order.map(|order| format!("{order}#2"));
        assert_eq!(About::new(later.as_deref(), None), About::new(order, None));
        assert_eq!(About::new(Some("999941057058"), Some("usr_1")), About::default());
        assert_eq!(About::new(user, order), About::default(), "each in its place");
    }
}
