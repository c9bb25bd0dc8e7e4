// The health check of MongoDB, run by mongosh in its container. The first ones also make the replica set and Waybill's user. It is
// healthy once it takes writes and that user is there.

const host = "mongo:27017";
// All that Waybill needs: its own database, and for `waybill doctor` a look at the server.
const roles = [{ "role": "readWrite", "db": "waybill" }, { "role": "clusterMonitor", "db": "admin" }];

const admin = db.getSiblingDB("admin");
admin.auth(process.env.MONGO_INITDB_ROOT_USERNAME, process.env.MONGO_INITDB_ROOT_PASSWORD);
const hello = admin.runCommand({ hello: 1 });
if (hello.isreplicaset) {
  admin.runCommand({ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host }] } });
  quit(1);
}
// Without a name it is the server that the image starts for a moment to make the first user.
if (!hello.setName || !hello.isWritablePrimary) quit(1);
const own = db.getSiblingDB("waybill");
if (own.runCommand({ usersInfo: "waybill" }).users.length === 0) {
  own.createUser({ user: "waybill", pwd: process.env.WAYBILL_MONGO_PASSWORD, roles });
}
quit(0);
