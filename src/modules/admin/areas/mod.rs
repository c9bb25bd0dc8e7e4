//! Pages and actions: a file for each part of the console.

/// The templates with these names, from the folder of templates.
macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../templates/", $name)))),*]
    };
}

mod kyc;
mod ledger;
mod logs;
mod operations;
mod orders;
mod overview;
mod portal;
mod queues;
mod shop;
mod tenants;
mod users;

use super::area::Area;

/// In the order of the navigation.
pub(super) fn all() -> Vec<Area> {
    vec![
        overview::area(),
        queues::area(),
        orders::area(),
        logs::area(),
        operations::area(),
        ledger::area(),
        kyc::area(),
        users::area(),
        tenants::area(),
        portal::area(),
        shop::area(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_and_every_template_is_used() {
        let areas = all();
        let pages: Vec<_> = areas.iter().flat_map(|area| &area.pages).collect();
        let once = |names: Vec<&str>| {
            let different: BTreeSet<_> = names.iter().copied().collect();
            assert_eq!(different.len(), names.len(), "{names:?}");
        };
        once(pages.iter().map(|page| page.path).collect());
        once(areas.iter().flat_map(|area| &area.actions).map(|action| action.name).collect());
        once(areas.iter().flat_map(|area| &area.downloads).map(|download| download.name).collect());
        let used: BTreeSet<_> = pages.iter().map(|page| page.template).collect();
        let there: BTreeSet<_> = areas.iter().flat_map(|area| area.templates).map(|(name, _)| *name).collect();
        assert!(used.is_subset(&there), "{:?}", used.difference(&there));
        for action in areas.iter().flat_map(|area| &area.actions) {
            let sources = areas.iter().flat_map(|area| area.templates).map(|(_, source)| source);
            let called = sources.filter(|source| source.contains(&format!("'{}'", action.name))).count();
            assert!(called > 0, "nothing leads to {}", action.name);
        }
    }
}
