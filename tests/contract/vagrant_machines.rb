# Prints as JSON the machines that a Vagrantfile defines, as Vagrant itself sees them with libvirt,
# and what it finds wrong in them with a provider, as "vagrant validate" does.
# The directory is VAGRANT_CWD.
require "json"
require "vagrant"

environment = Vagrant::Environment.new(ui_class: Vagrant::UI::Silent)
machines = environment.machine_names.to_h do |name|
  of = %i[libvirt virtualbox].to_h { |provider| [provider, environment.machine(name, provider)] }
  vm = of[:libvirt].config.vm
  [name, {
    wrong: of.to_h { |provider, machine| [provider, machine.config.validate(machine)] },
    box: vm.box,
    hostname: vm.hostname,
    cpus: of[:libvirt].provider_config.cpus,
    memory: of[:libvirt].provider_config.memory,
    addresses: vm.networks.filter_map { |kind, with| with[:ip] if kind == :private_network },
    carried: vm.synced_folders.values.reject { |folder| folder[:disabled] }
               .to_h { |folder| [folder[:guestpath], folder[:hostpath]] },
    scripts: vm.provisioners.map { |script| { run: script.config.inline, told: script.config.env } }
  }]
end
puts JSON.dump(machines)
