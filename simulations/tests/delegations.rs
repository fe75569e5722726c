//! Which zone is the authority of a name, where several could be: by delegations, and by tools that were there before.

#![expect(clippy::unwrap_used, reason = "what is missing here has failed the test")]

use std::time::Duration;

use aop_proto::name::ZoneName;
use aop_proto::node::Write;
use aop_proto::params::LEASE;
use aop_proto::wire::message::Form;
use aop_simulations::World;
use aop_simulations::scenario::server;
use aop_simulations::world::{HostId, Spec, name, question};

/// Time in which delegations stand.
const SETTLED: Duration = Duration::from_secs(2);

fn children(world: &World, host: HostId) -> Vec<String> {
    world.view(host).unwrap().children.iter().map(|child| child.zone.to_string()).collect()
}

fn undelegate(world: &mut World, host: HostId, zone: &str) {
    let zone = ZoneName::parse(zone).unwrap();
    world.write_through(host, Write::Undelegate { zone, reason: "it moves".to_owned() }).unwrap();
    // Who was refused asks again.
    world.run_for(LEASE);
}

/// Of each name one zone is the authority, in whichever order they come.
#[test]
fn a_zone_between_that_comes_later_waits_until_the_deeper_one_has_moved() {
    let mut world = World::new(31);
    let root = world.boot(Spec::new(".", 1));
    let deep = world.boot(Spec::new("x.y", 2).parent(1));
    world.run_for(SETTLED);
    world.write_through(deep, server("s", &[("echo", "Say it again")])).unwrap();
    let between = world.boot(Spec::new("y", 3).parent(1));
    world.run_for(SETTLED);
    assert_eq!(children(&world, root), ["x.y"]);
    let told = world.refusals(between).join("\n");
    assert!(told.contains("x.y lies in y") && told.contains("aop zones undelegate x.y"), "{told}");
    let answered = world.resolve(root, name("echo.s.x.y"));
    assert_eq!((answered.names(), answered.outcome.answers.len()), (vec!["echo.s.x.y".to_owned()], 1));
    undelegate(&mut world, root, "x.y");
    assert_eq!(children(&world, root), ["y"]);
    let below = world.boot(Spec::new("x.y", 5).parent(3));
    world.run_for(SETTLED);
    assert_eq!((children(&world, root), children(&world, between)), (vec!["y".to_owned()], vec!["x.y".to_owned()]));
    world.write_through(below, server("s", &[("sing", "Sing it")])).unwrap();
    world.run_for(SETTLED);
    assert_eq!(world.resolve(root, name("sing.s.x.y")).names(), ["sing.s.x.y"]);
    assert_eq!(world.resolve(root, name("echo.s.x.y")).names(), Vec::<String>::new());
}

#[test]
fn of_two_zones_in_each_other_that_two_replicas_took_the_first_stands_at_both() {
    for first in [2, 3] {
        let mut world = World::new(32);
        let roots = [world.boot(Spec::new(".", 1)), world.boot(Spec::new(".", 4).join(1))];
        world.run_for(SETTLED);
        world.partition(&[roots[0]], &[roots[1]]);
        let specs = [Spec::new("x.y", 2).parent(1), Spec::new("y", 3).parent(4)];
        let mut hosts = Vec::new();
        let mut specs: Vec<Spec> = specs.into();
        if first == 3 {
            specs.reverse();
        }
        for spec in specs {
            hosts.push(world.boot(spec));
            world.run_for(SETTLED);
        }
        let (stands, waits) = if first == 2 { ("x.y", "y") } else { ("y", "x.y") };
        let both = |world: &World| roots.map(|root| children(world, root));
        let each: Vec<Vec<String>> = both(&world).into();
        assert_eq!(each.concat().len(), 2, "each has taken one: {each:?}");
        world.write_through(hosts[0], server("s", &[("echo", "Say it again")])).unwrap();
        world.heal();
        world.run_for(Duration::from_secs(15));
        assert_eq!(both(&world), [[stands], [stands]]);
        for root in roots {
            let answered = world.resolve(root, question(Form::List, ""));
            let mut zones: Vec<&str> = answered.outcome.answers.iter().map(|(_, it)| &*it.answer.zone).collect();
            zones.sort_unstable();
            assert_eq!(zones, [".", stands], "nobody else is asked");
            assert_eq!(world.resolve(root, name(&format!("echo.s.{stands}"))).names().len(), 1);
        }
        undelegate(&mut world, roots[0], stands);
        assert_eq!(both(&world), [[waits], [waits]], "it waited for that");
    }
}

/// A tool whose name ends in a zone's was found in words, and by its name nobody had it.
#[test]
fn a_zone_is_not_delegated_over_tools_that_are_there() {
    let mut world = World::new(24);
    world.boot(Spec::new(".", 1));
    let research = world.boot(Spec::new("research", 2).parent(1));
    world.run_for(SETTLED);
    world.write_through(research, server("arxiv", &[("search_papers", "Search papers on arxiv")])).unwrap();
    world.run_for(SETTLED);
    let child = world.boot(Spec::new("arxiv.research", 9).parent(2));
    world.run_for(SETTLED);
    let refusals: Vec<String> = world.refusals(child);
    assert!(
        refusals.iter().any(|why| why.contains("of server arxiv here would lie in arxiv.research")),
        "{refusals:?}"
    );
    assert_eq!(world.resolve(research, name("search_papers.arxiv.research")).names(), ["search_papers.arxiv.research"]);
    world.write_through(research, Write::Remove("arxiv".to_owned())).unwrap();
    world.run_for(SETTLED);
    world.boot(Spec::new("arxiv.research", 10).parent(2));
    world.run_for(SETTLED);
    assert_eq!(children(&world, research), ["arxiv.research"]);
}
