# Stands in for Bundler in bunny's specs: what they need is on the load path, and the broker is not at its usual ports.

require "amq/protocol/client"

module Bundler
  def self.require(*) = nil
end

module AMQ::Protocol
  { DEFAULT_PORT: "AMQP_PORT", TLS_PORT: "AMQPS_PORT" }.each do |name, variable|
    remove_const(name)
    const_set(name, Integer(ENV.fetch(variable)))
  end
end
